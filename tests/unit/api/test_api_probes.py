"""Probes, metrics, documents, and what the server does with slow or strange clients."""

import asyncio
import logging

import jsonschema_rs
import pytest
from aiohttp import ClientSession

from flowmachine.api.routes import ROUTES
from flowmachine.api.server import ApiSettings, run_server
from flowmachine.core.phases import Phase
from flowmachine.errors import ConfigurationError
from flowmachine.runtime.engine import Status
from tests.support.api_fakes import HELD, PENDING, ApiSetup, order_record, running_api


async def ended(error: BaseException | None = None) -> asyncio.Task[None]:
    async def run() -> None:
        if error is not None:
            raise error

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return task


async def test_healthy_and_ready_engine() -> None:
    async with running_api() as api:
        for path in ("/-/healthz", "/-/ready"):
            response = await api.client.get(path)
            assert response.status == 200
            assert await response.json() == {"name": "orders", "status": "OK", "version": "1.2.3", "problems": []}


async def test_probe_by_head_is_answered() -> None:
    async with running_api() as api:
        assert (await api.client.head("/-/ready")).status == 200


async def test_log_that_is_away_for_a_while_is_unready_but_healthy() -> None:
    async with running_api() as api:
        api.engine.trouble("Kafka cannot be reached")
        ready = await api.client.get("/-/ready")
        assert ready.status == 503
        assert await ready.json() == {
            "name": "orders",
            "status": "KO",
            "version": "1.2.3",
            "problems": ["Kafka cannot be reached"],
        }
        assert (await api.client.get("/-/healthz")).status == 200


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(None, "the engine has stopped"), (RuntimeError("hunter2"), "the engine has crashed: RuntimeError")],
)
async def test_engine_that_has_ended_is_unhealthy(error: Exception | None, sentence: str) -> None:
    async with running_api() as api:
        api.lifecycle.watch(await ended(error))
        for path in ("/-/healthz", "/-/ready", "/-/check-up"):
            response = await api.client.get(path)
            assert response.status == 503
            assert (await response.json())["problems"] == [sentence]
        assert (await api.client.post("/saga", json={})).status == 503


async def test_cancelled_engine_is_unhealthy() -> None:
    async with running_api() as api:
        run = asyncio.create_task(asyncio.Event().wait())
        api.lifecycle.watch(run)
        assert (await api.client.get("/-/healthz")).status == 200
        run.cancel()
        await asyncio.wait([run])
        assert (await api.client.get("/-/healthz")).status == 503


async def test_draining_engine_is_unready_but_healthy() -> None:
    async with running_api() as api:
        api.lifecycle.drain()
        assert (await api.client.get("/-/healthz")).status == 200
        ready = await api.client.get("/-/ready")
        assert ready.status == 503
        assert (await ready.json())["problems"] == ["the engine is stopping"]


async def test_check_up_shows_partitions_and_counts() -> None:
    async with running_api() as api:
        problem = "partition 1 is restoring"
        api.engine.now = Status((problem,), {0: Phase.RUNNING, 1: Phase.RESTORING}, sagas=5, undelivered=2)
        response = await api.client.get("/-/check-up")
        assert response.status == 503
        assert await response.json() == {
            "name": "orders",
            "status": "KO",
            "version": "1.2.3",
            "problems": [problem],
            "partitions": {"0": "running", "1": "restoring"},
            "sagas": 5,
            "undelivered": 2,
            "store": None,
        }


async def test_documents_and_metrics_are_served() -> None:
    async with running_api() as api:
        assert await (await api.client.get("/machine-definition")).json() == {"initialState": "CREATED"}
        assert "**********" in await (await api.client.get("/configuration")).text()
        metrics = await api.client.get("/-/metrics")
        assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert await metrics.read() == b"# HELP up\n"


async def test_answers_say_little_about_the_server_and_are_not_cached() -> None:
    async with running_api() as api:
        for path in ("/-/ready", "/nothing"):
            headers = (await api.client.get(path)).headers
            assert headers["Server"] == "FlowMachine"
            assert headers["Cache-Control"] == "no-store"
            assert headers["X-Content-Type-Options"] == "nosniff"


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


async def test_every_route_is_in_the_openapi_document() -> None:
    setup = ApiSetup()
    served = {
        (route.method, route.resource.canonical)
        for route in setup.application().router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    async with running_api(setup) as api:
        document = await (await api.client.get("/openapi.json")).json()
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == served
    assert len(described) == len(ROUTES)


async def test_openapi_document_is_whole() -> None:
    async with running_api() as api:
        document = await (await api.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    names: list[str] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                names.append(value["$ref"].removeprefix("#/components/schemas/"))
            for item in value.values():
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(document)
    assert names
    assert set(names) <= set(document["components"]["schemas"])
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    for operation in operations:
        assert "200" in operation["responses"]
        assert "500" in operation["responses"]


async def test_answers_fit_their_schemas() -> None:
    setup = ApiSetup()
    setup.gateway.records["order-1"] = order_record(outbox=PENDING, held=HELD)
    event = {"key": "a", "value": {"messageLabel": "b"}}
    requests = [
        ("POST", "/saga", "/saga", {"associatedEntityId": "x", "metadata": {}}),
        ("POST", "/saga", "/saga", {}),
        ("POST", "/event", "/event", event),
        ("GET", "/sagas/{sagaId}", "/sagas/nobody", None),
        ("GET", "/-/healthz", "/-/healthz", None),
        ("GET", "/-/ready", "/-/ready", None),
        ("GET", "/-/check-up", "/-/check-up", None),
    ]
    async with running_api(setup) as api:
        document = await (await api.client.get("/openapi.json")).json()
        for method, path, url, body in requests:
            response = await api.client.request(method, url, json=body)
            described = document["paths"][path][method.lower()]["responses"][str(response.status)]
            schema = described["content"]["application/json"]["schema"]
            schema = schema | {"components": document["components"]}
            jsonschema_rs.validate(schema, await response.json())


# --- the server -------------------------------------------------------------------------------------------------------


async def get_status(port: int) -> int:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/-/ready") as response:
        return response.status


async def test_server_says_its_port_and_stops_with_the_block() -> None:
    async with run_server(ApiSetup().application(), "127.0.0.1", 0) as port:
        assert await get_status(port) == 200
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_port_in_use_is_a_configuration_error() -> None:
    async with run_server(ApiSetup().application(), "127.0.0.1", 0) as port:
        with pytest.raises(ConfigurationError, match=f"port {port} of 127.0.0.1 is in use"):
            async with run_server(ApiSetup().application(), "127.0.0.1", port):
                pytest.fail("the port is taken")


async def test_address_of_another_machine_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1"):
        async with run_server(ApiSetup().application(), "192.0.2.1", 0):
            pytest.fail("the address is not ours")


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send what there is, then read until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


POST_HEAD = b"POST /saga HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def test_body_that_never_ends_is_408() -> None:
    setup = ApiSetup(settings=ApiSettings(body_seconds_max=0.05))
    async with run_server(setup.application(), "127.0.0.1", 0) as port:
        answer = await exchange(port, POST_HEAD + b"Content-Length: 100\r\n\r\n", b'{"associated')
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"statusCode":408' in answer


async def test_headers_that_never_end_are_hung_up_on() -> None:
    setup = ApiSetup(settings=ApiSettings(idle_seconds_max=0.05))
    async with run_server(setup.application(), "127.0.0.1", 0) as port:
        assert await exchange(port, POST_HEAD) == b""


async def test_huge_body_is_refused_before_it_is_sent() -> None:
    setup = ApiSetup(settings=ApiSettings(body_seconds_max=0.05))
    async with run_server(setup.application(), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST_HEAD + b"Content-Length: 100000000000\r\n\r\n")
        async with asyncio.timeout(10):
            assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01 hello\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", POST_HEAD + b"A" * 20_000]
)
async def test_bytes_that_are_not_http_are_refused_without_noise(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with run_server(ApiSetup().application(), "127.0.0.1", 0) as port:
        answer = await exchange(port, sent)
        assert answer.startswith(b"HTTP/1.0 400 ")
        assert b"Traceback" not in answer
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_client_that_hangs_up_in_its_body_leaves_no_error(caplog: pytest.LogCaptureFixture) -> None:
    setup = ApiSetup()
    async with run_server(setup.application(), "127.0.0.1", 0) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST_HEAD + b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert await get_status(port) == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_requests_are_logged_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    for level, lines in ((logging.INFO, 0), (logging.DEBUG, 1)):
        caplog.clear()
        with caplog.at_level(level, logger="flowmachine.api.server"):
            async with run_server(ApiSetup().application(), "127.0.0.1", 0) as port:
                assert await get_status(port) == 200
        assert len([record for record in caplog.records if record.message == "request"]) == lines
