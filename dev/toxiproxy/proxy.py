"""A running toxiproxy and the links through it; it ends with the `with` block."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from dev.addresses import LOOPBACK, find_free_ports
from dev.server import Server
from dev.toxiproxy.provision import provision


class Link:
    """One way through the proxy."""

    def __init__(self, proxy: "Toxiproxy", name: str, address: str) -> None:
        self.address = address
        self._proxy = proxy
        self._name = name

    def add_latency(self, latency_ms: int, *, jitter_ms: int = 0) -> None:
        """Delay what comes back by so much, give or take the jitter."""
        self._add("latency", {"latency": latency_ms, "jitter": jitter_ms})

    def limit(self, upstream_kilobytes_per_second: int) -> None:
        """Let no connection send more than this."""
        self._add("bandwidth", {"rate": upstream_kilobytes_per_second}, stream="upstream")

    def stall(self) -> None:
        """Let nothing through, and keep the connections open: what a firewall does that forgets them."""
        for stream in ("upstream", "downstream"):
            self._add("timeout", {"timeout": 0}, stream=stream)

    def cut(self) -> None:
        """Close all connections, and refuse new ones."""
        self._proxy.call("POST", f"/proxies/{self._name}", {"enabled": False})

    def heal(self) -> None:
        """Undo all of it."""
        for toxic in self._proxy.call("GET", f"/proxies/{self._name}/toxics"):
            self._proxy.call("DELETE", f"/proxies/{self._name}/toxics/{toxic['name']}")
        self._proxy.call("POST", f"/proxies/{self._name}", {"enabled": True})

    def _add(self, kind: str, attributes: Mapping[str, int], *, stream: str = "downstream") -> None:
        toxic = {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": dict(attributes)}
        self._proxy.call("POST", f"/proxies/{self._name}/toxics", toxic)


class Toxiproxy(Server):
    """A context manager. Raises ToolMissingError, ProvisionError, ProgramFailedError."""

    name = "toxiproxy"
    start_seconds_max = 30.0

    def __init__(self) -> None:
        self._program = provision()
        super().__init__()

    def command(self) -> list[str]:
        """The program and its arguments."""
        return [str(self._program), "-host", LOOPBACK, "-port", str(self.port)]

    def answers(self) -> bool:
        """Whether its API answers."""
        try:
            self.call("GET", "/version")
        except OSError:
            return False
        return True

    def link(self, upstream: str, *, port: int | None = None) -> Link:
        """A new way to `host:port`; on a free port of the loopback address unless one is named."""
        name = f"link-{upstream.replace(':', '-')}"
        listen = f"{LOOPBACK}:{port if port is not None else find_free_ports(1)[0]}"
        self.call("POST", "/proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": True})
        return Link(self, name, listen)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the proxy's own HTTP API. Raises OSError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{self.port}{path}",
            data=data,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            text = response.read()
        return json.loads(text) if text.strip().startswith((b"{", b"[")) else None
