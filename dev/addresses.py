"""Free and taken ports on this machine."""

import errno
import os
import secrets
import socket

from dev.errors import PortTakenError

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes source ports of outgoing connections (usually 32768 and up): a client
# that keeps connecting to the port of a killed broker inside that range can end up connected to itself and then
# blocks the restart.
_FREE_PORTS_FROM = 20_000
_FREE_PORTS_TO = 32_000
_FREE_PORT_TRIES_MAX = 2_000


def explain_refusal(host: str, port: int) -> str | None:
    """Say why a server could not listen on this address now; None when it could."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the JVM does: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            return "in use" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
    return None


def find_free_ports(count: int) -> list[int]:
    """Return different ports of the loopback address that nobody listens on."""
    found: list[int] = []
    for _ in range(_FREE_PORT_TRIES_MAX):
        if len(found) == count:
            return found
        port = _FREE_PORTS_FROM + secrets.randbelow(_FREE_PORTS_TO - _FREE_PORTS_FROM)
        if port not in found and explain_refusal(LOOPBACK, port) is None:
            found.append(port)
    message = f"No {count} free ports between {_FREE_PORTS_FROM} and {_FREE_PORTS_TO} on {LOOPBACK}."
    raise PortTakenError(message)
