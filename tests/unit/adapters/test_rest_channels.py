"""REST channels over TLS and through proxies, against real servers with good and bad certificates."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from flowmachine.adapters.files import build_tls_context, read_tls
from flowmachine.adapters.rest import HostSlots, RestEndpoint, RestSender, open_session
from flowmachine.config.resource import Tls
from flowmachine.errors import ConfigurationError, TransientError
from tests.support.certificates import Authority, server_context
from tests.support.http_servers import served

PASSPHRASE = "hunter2"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncGenerator[tuple[int, list[str | None]]]:
    """A participant; what it collects are the common names of its clients' certificates."""
    seen: list[str | None] = []

    async def take(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert") or {}
        names = dict(pair for part in certificate.get("subject", ()) for pair in part)
        seen.append(names.get("commonName"))
        return web.Response()

    application = web.Application()
    application.router.add_post("/commands", take)
    async with served(application, context) as port:
        yield port, seen


async def send(port: int, tls: dict[str, object] | None, *, host: str = "127.0.0.1") -> None:
    texts = read_tls(None if tls is None else Tls.model_validate(tls), Path("/unused"), where="rest.tls")
    context = build_tls_context(texts, where="rest.tls")
    protocol = "http" if tls is None else "https"
    endpoint = RestEndpoint(host=host, protocol=protocol, port=port, path="/commands", tls=context, timeout_seconds=10)
    async with open_session() as session:
        sender = RestSender(endpoint, session, HostSlots(8))
        await sender.send(saga_id="order-1", label="executePayment", payload={}, idempotency_key="order-1:2")


def trusting(authority: Authority) -> dict[str, object]:
    return {"ca": {"file": str(authority.ca)}}


async def test_private_authority_is_trusted(authority: Authority) -> None:
    async with serving(server_context(authority.issue("service"))) as (port, seen):
        await send(port, trusting(authority))
        assert seen == [None]


async def test_client_certificate_with_a_locked_key_is_shown(authority: Authority) -> None:
    client = authority.issue("engine", passphrase=PASSPHRASE)
    tls = trusting(authority) | {
        "cert": {"file": str(client.cert)},
        "key": {"file": str(client.key)},
        "passphrase": PASSPHRASE,
    }
    async with serving(server_context(authority.issue("service"), client_ca=authority.ca)) as (port, seen):
        await send(port, tls)
        assert seen == ["engine"]
    with pytest.raises(ConfigurationError, match=r"^rest\.tls: the certificates cannot be used"):
        await send(port, tls | {"passphrase": "wrong"})


async def test_server_that_wants_a_client_certificate_refuses_others(authority: Authority) -> None:
    async with serving(server_context(authority.issue("service"), client_ca=authority.ca)) as (port, seen):
        with pytest.raises(TransientError):
            await send(port, trusting(authority))
        assert seen == []


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [("IP:127.0.0.1", -1, "certificate has expired"), ("DNS:other.example", 30, "IP address mismatch")],
)
async def test_bad_certificate_is_named(authority: Authority, names: str, days: int, reason: str) -> None:
    context = server_context(authority.issue("bad", names=names, days=days))
    async with serving(context) as (port, seen):
        with pytest.raises(TransientError, match=reason):
            await send(port, trusting(authority))
        assert seen == []


async def test_own_authority_replaces_the_systems(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    async with serving(server_context(authority.issue("service"))) as (port, seen):
        with pytest.raises(TransientError, match="TLS failed"):
            await send(port, trusting(other))
        assert seen == []


# --- proxies ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def proxying(target_port: int) -> AsyncGenerator[tuple[str, list[str]]]:
    """A proxy that leads every request, or tunnel, to one port, and keeps the request lines."""
    lines: list[str] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.append(head.partition(b"\r\n")[0].decode())
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", target_port)
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            path = b"/" + url.split(b"/", 3)[3]
            to_writer.write(b" ".join((method, path, rest)))
        await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lines
    finally:
        server.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def test_commands_go_through_the_proxy_of_the_environment(environment: pytest.MonkeyPatch) -> None:
    async with serving(None) as (port, seen), proxying(port) as (proxy, lines):
        environment.setenv("HTTP_PROXY", proxy)
        environment.setenv("http_proxy", proxy)
        await send(80, None, host="kitchen.example")
        assert lines == ["POST http://kitchen.example/commands HTTP/1.1"]
        assert len(seen) == 1


async def test_commands_over_tls_go_through_a_tunnel(environment: pytest.MonkeyPatch, authority: Authority) -> None:
    context = server_context(authority.issue("kitchen", names="DNS:kitchen.example"))
    async with serving(context) as (port, seen), proxying(port) as (proxy, lines):
        environment.setenv("https_proxy", proxy)
        await send(443, trusting(authority), host="kitchen.example")
        assert lines == ["CONNECT kitchen.example:443 HTTP/1.1"]
        assert len(seen) == 1


async def test_no_proxy_is_respected(environment: pytest.MonkeyPatch) -> None:
    async with serving(None) as (port, seen), proxying(port) as (proxy, lines):
        environment.setenv("http_proxy", proxy)
        environment.setenv("no_proxy", "127.0.0.1,.example")
        await send(port, None)
        assert (len(seen), lines) == (1, [])
