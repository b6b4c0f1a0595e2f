"""Toxiproxy: a TCP proxy that delays, drops and cuts what goes through it; one program, built by Go and kept.

with Toxiproxy() as proxy:
    link = proxy.link("127.0.0.1:9092")   # clients use link.address
    link.add_latency(200, jitter_ms=100)
    link.cut()                            # connections are closed, new ones refused
    link.stall()                          # connections stay open, nothing arrives
    link.heal()
"""

from dev.toxiproxy.proxy import Link, Toxiproxy

__all__ = ["Link", "Toxiproxy"]
