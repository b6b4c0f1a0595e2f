"""Commands over HTTP and reads from peers, against a real server that answers well, badly, or not at all."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.test_utils import TestServer

from flowmachine.adapters.rest import HostSlots, HttpPeerReader, RestEndpoint, RestSender, open_session
from flowmachine.adapters.rest.session import describe_failure
from flowmachine.core.payload import encode_payload
from flowmachine.errors import ConfigurationError, TransientError
from tests.support.api_fakes import ApiSetup, order_record

MEGABYTE = b"x" * 1_000_000
SECRET = "hunter2"


@dataclass
class Service:
    """A participant. `answer` is what it does next; `seen` what it was sent."""

    server: TestServer | None = None
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    seen: list[tuple[str, str, Mapping[str, str], Any]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    bytes_sent: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    running_max: int = 0

    @property
    def port(self) -> int:
        assert self.server is not None
        assert self.server.port is not None
        return self.server.port

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.connections.add(request.transport)
        self.seen.append((request.method, request.raw_path, dict(request.headers), await request.json()))
        assert self.answer is not None
        return await self.answer(request)

    async def hang(self, _: web.Request) -> web.StreamResponse:
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        self.arrived.set()
        await self.release.wait()
        self.running -= 1
        return web.Response()

    async def send_much(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(100 * len(MEGABYTE))})
        return await self._send(request, response)

    async def send_without_end(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, web.StreamResponse())

    async def _send(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        await response.prepare(request)
        try:
            for _ in range(100):
                await response.write(MEGABYTE)
                self.bytes_sent += len(MEGABYTE)
        except ConnectionError:
            pass
        return response

    async def start_a_body_and_hang(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await self.release.wait()
        return response

    async def close(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


def answering(status: int, **headers: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="" if status == 204 else "ignored", headers=headers)

    return answer


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    service = Service()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", service.handle)
    async with TestServer(application) as server:
        service.server = server
        yield service
        service.release.set()


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with open_session() as session:
        yield session


SLOTS = 8


def build_sender(service: Service, session: aiohttp.ClientSession, **changes: Any) -> RestSender:
    settings = {"host": "127.0.0.1", "port": service.port, "path": "/commands", "timeout_seconds": 5.0} | changes
    return RestSender(RestEndpoint(**settings), session, HostSlots(SLOTS))


async def send(sender: RestSender, saga_id: str = "order-1", key: str = "order-1:2") -> None:
    async with asyncio.timeout(20):
        await sender.send(
            saga_id=saga_id, label="executePayment", payload=encode_payload({"total": 1.5}), idempotency_key=key
        )


async def test_further_headers_win_over_the_channels(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = answering(200)
    sender = build_sender(service, session, headers={"traceparent": "fixed", "X-Team": "a"})
    await sender.send(
        saga_id="order-1",
        label="executePayment",
        payload=encode_payload({}),
        idempotency_key="order-1:2",
        headers={"traceparent": "00-1-2-01"},
    )
    ((_, _, headers, _),) = service.seen
    assert (headers["traceparent"], headers["X-Team"]) == ("00-1-2-01", "a")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_command_has_flow_managers_form(service: Service, session: aiohttp.ClientSession, method: str) -> None:
    service.answer = answering(200)
    await send(build_sender(service, session, method=method, headers={"Authorization": f"Bearer {SECRET}"}))
    ((seen_method, path, headers, body),) = service.seen
    assert (seen_method, path) == (method, "/commands")
    assert body == {"key": "order-1", "value": {"messageLabel": "executePayment", "messagePayload": {"total": 1.5}}}
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "order-1:2"
    assert headers["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(service: Service, session: aiohttp.ClientSession, status: int) -> None:
    service.answer = answering(status)
    await send(build_sender(service, session))


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 404, 429, 500, 503])
async def test_any_other_status_is_a_failure(service: Service, session: aiohttp.ClientSession, status: int) -> None:
    service.answer = answering(status, Location="/elsewhere")
    sender = build_sender(service, session, path="/commands?token=hunter2", headers={"X-Key": SECRET})
    with pytest.raises(TransientError) as caught:
        await send(sender)
    assert f"POST http://127.0.0.1:{service.port}/commands answered {status}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert len(service.seen) == 1


async def test_credentials_in_the_url_are_used_and_not_shown(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = answering(500)
    with pytest.raises(TransientError) as caught:
        await send(build_sender(service, session, host=f"cook:{SECRET}@127.0.0.1"))
    assert SECRET not in str(caught.value)
    assert "cook" not in str(caught.value)
    assert service.seen[0][2]["Authorization"].startswith("Basic ")


async def test_silence_is_a_failure_after_the_timeout(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.hang
    with pytest.raises(TransientError, match=r"no answer within 0\.05 s"):
        await send(build_sender(service, session, timeout_seconds=0.05))


async def test_closed_connection_is_a_failure(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.close
    with pytest.raises(TransientError, match="closed without an answer"):
        await send(build_sender(service, session))


async def test_nobody_there_is_a_failure(service: Service, session: aiohttp.ClientSession) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so nobody else gets it; not listening, so connections are refused
        with pytest.raises(TransientError, match="cannot connect"):
            await send(build_sender(service, session, port=unused.getsockname()[1]))


async def test_unknown_host_is_a_failure(service: Service, session: aiohttp.ClientSession) -> None:
    with pytest.raises(TransientError, match="cannot be resolved"):
        await send(build_sender(service, session, host="nobody.invalid"))


async def test_answer_that_is_not_http_is_a_failure(service: Service, session: aiohttp.ClientSession) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        with pytest.raises(TransientError, match="the answer is not HTTP"):
            await send(build_sender(service, session, port=server.sockets[0].getsockname()[1]))


async def test_tls_to_a_server_without_it_is_a_failure(service: Service, session: aiohttp.ClientSession) -> None:
    with pytest.raises(TransientError, match="TLS failed"):
        await send(build_sender(service, session, protocol="https", tls=ssl.create_default_context()))


def test_certificate_that_is_not_trusted_is_named() -> None:
    key = ConnectionKey("host", 443, True, True, None, None, None)
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_message = "self-signed certificate"
    error = aiohttp.ClientConnectorCertificateError(key, cause)
    assert describe_failure(error, 5.0) == "TLS failed (self-signed certificate)"


async def test_huge_body_is_not_read(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.send_much
    await send(build_sender(service, session))
    assert service.bytes_sent < 20 * len(MEGABYTE)


async def test_body_of_unknown_length_is_not_read_to_its_end(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.send_without_end
    await send(build_sender(service, session))
    assert service.bytes_sent < 20 * len(MEGABYTE)


async def test_body_that_hangs_does_not_make_a_2xx_a_failure(
    service: Service, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowmachine.adapters.rest.sender.IGNORED_BODY_SECONDS_MAX", 0.02)
    service.answer = service.start_a_body_and_hang
    await send(build_sender(service, session))


async def test_connection_is_used_again(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = answering(200)
    sender = build_sender(service, session)
    for _ in range(5):
        await send(sender)
    assert len(service.connections) == 1


async def test_cookies_are_not_kept(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = answering(200, **{"Set-Cookie": "a=b"})
    sender = build_sender(service, session)
    for _ in range(2):
        await send(sender)
    assert "Cookie" not in service.seen[1][2]


async def test_requests_to_one_host_are_bounded(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.hang
    slots = HostSlots(2)
    senders = [
        RestSender(RestEndpoint("127.0.0.1", port=service.port, path=path), session, slots) for path in ("/a", "/b")
    ]
    async with asyncio.TaskGroup() as group:
        for sender in senders * 4:
            group.create_task(send(sender))
        await service.arrived.wait()
        service.release.set()
    assert len(service.seen) == 8
    assert service.running_max <= 2


async def test_waiting_for_a_slot_is_not_part_of_the_timeout(service: Service, session: aiohttp.ClientSession) -> None:
    service.answer = service.hang
    slots = HostSlots(1)
    patient = RestSender(RestEndpoint("127.0.0.1", port=service.port), session, slots)
    hasty = RestSender(RestEndpoint("127.0.0.1", port=service.port, timeout_seconds=0.2), session, slots)
    async with asyncio.TaskGroup() as group:
        group.create_task(send(patient))
        await service.arrived.wait()
        late = group.create_task(send(hasty))
        done, _ = await asyncio.wait([late], timeout=0.4)
        assert not done
        service.release.set()


@pytest.mark.parametrize(
    ("key", "header"), [("order:1", "order:1"), ("a b\n:1", "a%20b%0A:1"), ("50%:1", "50%25:1"), ("ü:1", "%C3%BC:1")]
)
async def test_any_saga_id_makes_a_key_that_fits_a_header(
    service: Service, session: aiohttp.ClientSession, key: str, header: str
) -> None:
    service.answer = answering(200)
    await send(build_sender(service, session), saga_id=key[:-2], key=key)
    assert service.seen[0][2]["Idempotency-Key"] == header
    assert service.seen[0][3]["key"] == key[:-2]


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Idempotency-Key"])
def test_headers_of_the_engine_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"headers.{name}"):
        RestSender(RestEndpoint("host", headers={name: "1"}), None, HostSlots(1))  # type: ignore[arg-type]


def test_header_value_with_a_line_break_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        RestSender(RestEndpoint("host", headers={"X-Key": f"{SECRET}\n"}), None, HostSlots(1))  # type: ignore[arg-type]
    assert "X-Key" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["", "[::1", "ho st"])
def test_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        RestSender(RestEndpoint(host), None, HostSlots(1))  # type: ignore[arg-type]


def test_endpoint_shows_no_header_value() -> None:
    assert SECRET not in repr(RestEndpoint("host", headers={"X-Key": SECRET}))


async def test_ipv6_address_is_a_host(session: aiohttp.ClientSession) -> None:
    sender = RestSender(RestEndpoint("::1", port=1), session, HostSlots(1))
    with pytest.raises(TransientError, match=r"http://\[::1\]:1/"):
        await send(sender)


async def test_failures_are_not_logged_by_the_sender(
    service: Service, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    service.answer = answering(500)
    with pytest.raises(TransientError), caplog.at_level(logging.INFO, logger="flowmachine"):
        await send(build_sender(service, session))
    assert [record for record in caplog.records if record.name.startswith("flowmachine")] == []


# --- reads from other engines -----------------------------------------------------------------------------------------


async def test_peer_gives_the_record_and_none_for_an_unknown_saga(session: aiohttp.ClientSession) -> None:
    setup = ApiSetup()
    async with TestServer(setup.application()) as server:
        reader = HttpPeerReader(session)
        for saga_id in ("order-1", "a/b ü?#%"):
            setup.gateway.records[saga_id] = order_record()
            assert await reader.read(f"127.0.0.1:{server.port}", saga_id) == order_record()
        assert await reader.read(f"127.0.0.1:{server.port}", "nobody") is None
        assert all(is_from_peer for _, is_from_peer in setup.gateway.reads)


async def test_peer_that_cannot_say_is_a_failure(session: aiohttp.ClientSession) -> None:
    setup = ApiSetup()
    setup.gateway.error = TransientError("home partition 1 is moving")
    async with TestServer(setup.application()) as server:
        with pytest.raises(TransientError, match="answered 503"):
            await HttpPeerReader(session).read(f"127.0.0.1:{server.port}", "order-1")


async def test_404_of_somebody_else_at_that_address_is_a_failure(session: aiohttp.ClientSession) -> None:
    async with TestServer(web.Application()) as server:
        with pytest.raises(TransientError, match="answered 404"):
            await HttpPeerReader(session).read(f"127.0.0.1:{server.port}", "order-1")


async def test_peer_that_is_gone_is_a_failure(session: aiohttp.ClientSession) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="did not answer: cannot connect"):
            await HttpPeerReader(session).read(f"127.0.0.1:{unused.getsockname()[1]}", "order-1")


async def test_peer_that_hangs_is_a_failure(session: aiohttp.ClientSession) -> None:
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    application = web.Application()
    application.router.add_get("/{path:.*}", hang)
    async with TestServer(application) as server:
        with pytest.raises(TransientError, match=r"no answer within 0\.05 s"):
            await HttpPeerReader(session, timeout_seconds=0.05).read(f"127.0.0.1:{server.port}", "order-1")
        release.set()


async def test_address_that_is_none_is_a_failure(session: aiohttp.ClientSession) -> None:
    with pytest.raises(TransientError):
        await HttpPeerReader(session).read("not an address", "order-1")
