"""One trace per saga, from a real engine over a real broker to a real receiver of OTLP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dev.addresses import find_free_ports
from dev.engine_process import EngineProcess
from flowmachine.core.trace import derive_span_id, derive_trace_id
from flowmachine.wire.message import encode_message
from tests.support.eventually import eventually
from tests.support.http_servers import served
from tests.support.kafka import KafkaBroker, produce, read_all
from tests.support.orders import (
    FinalStates,
    Orders,
    create_sagas,
    prepare_orders,
    running_participants,
    send_preparations_over_http,
)
from tests.support.otlp import ReceivedSpan, Receiver, otlp_receiver

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{CALLER_TRACE}-{CALLER_SPAN}-01", "tracestate": "shop=1"}


@asynccontextmanager
async def kitchen() -> AsyncGenerator[tuple[int, list[dict[str, str]]]]:
    """A service behind HTTP; gives its port, and the headers of what it was sent."""
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with served(application) as port:
        yield port, seen


async def post(url: str, body: Any, headers: dict[str, str]) -> Any:
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        assert response.status == 200
        return await response.json()


async def wait_for_spans(receiver: Receiver, trace_id: str, *names: str) -> dict[str, ReceivedSpan]:
    """The spans of a trace by name, once it has these and no others."""
    await eventually(lambda: sorted(span.name for span in receiver.of(trace_id)) == sorted(names), f"the spans {names}")
    return {span.name: span for span in receiver.of(trace_id)}


async def traces_of_commands(orders: Orders, count: int) -> list[tuple[str, str]]:
    """The headers `traceparent` and `tracestate` of all commands."""
    found = await read_all(
        orders.bootstrap, orders.commands, until=lambda records: len(records) >= count, timeout_seconds=60
    )
    headers = [{name: value.decode() for name, value in record.headers} for record in found]
    return [(each["traceparent"], each.get("tracestate", "")) for each in headers]


@pytest.mark.timeout(240)
async def test_saga_is_one_trace_from_its_creator_over_a_restart_to_the_last_service(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    async with kitchen() as (port, seen):
        send_preparations_over_http(orders, port)
        with otlp_receiver() as receiver:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
            monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
            engine = EngineProcess(orders.file)
            try:
                await asyncio.to_thread(engine.start)
                creation = {"associatedEntityId": "order-1", "metadata": {}}
                saga_id = (await post(f"{engine.url}/saga", creation, CALLER))["sagaId"]
                first = derive_span_id(saga_id, 1)
                assert await traces_of_commands(orders, 1) == [(f"00-{CALLER_TRACE}-{first}-01", "shop=1")]
                await wait_for_spans(receiver, CALLER_TRACE, "create saga")
                await asyncio.to_thread(engine.kill)
                await asyncio.to_thread(engine.start)
                # A service with spans of its own, and one that knows nothing of traces.
                service = [("traceparent", f"00-{CALLER_TRACE}-{'5e' * 8}-01".encode()), ("tracestate", b"pay=2")]
                paid = (saga_id.encode(), encode_message("paymentExecuted", {}), None, service)
                await produce(orders.bootstrap, orders.events, [paid])
                sent = ("create saga", "event paymentExecuted", "send prepareOrder")
                await wait_for_spans(receiver, CALLER_TRACE, *sent)
                prepared = {"key": saga_id, "value": {"messageLabel": "orderPrepared", "messagePayload": {}}}
                await post(f"{engine.url}/event", prepared, {})
                spans = await wait_for_spans(receiver, CALLER_TRACE, *sent, "event orderPrepared")
            finally:
                engine.close()
    created, paid_span, delivery, last = (spans[name] for name in (*sent, "event orderPrepared"))
    assert [(span.span_id, span.parent_id) for span in (created, paid_span)] == [
        (first, CALLER_SPAN),
        (derive_span_id(saga_id, 2), "5e" * 8),
    ]
    assert (delivery.parent_id, last.parent_id) == (paid_span.span_id, first)
    (request,) = seen
    assert request["traceparent"] == f"00-{CALLER_TRACE}-{delivery.span_id}-01"
    assert request["tracestate"] == "shop=1"
    assert (paid_span.attributes["messaging.destination.name"], paid_span.kind) == (orders.events, 5)
    assert {span.resource["flowmachine.machine"] for span in spans.values()} == {orders.name}
    assert created.start_ns <= created.end_ns <= last.end_ns


@pytest.mark.timeout(240)
async def test_participants_of_ours_pass_the_trace_on(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        engine = EngineProcess(orders.file)
        try:
            await asyncio.to_thread(engine.start)
            ids = await create_sagas(orders, 2)
            async with running_participants(orders):
                await FinalStates(orders).wait_for(ids, timeout_seconds=60)
            for saga_id in ids:
                names = ("create saga", "event paymentExecuted", "event orderPrepared", "event orderDelivered")
                spans = await wait_for_spans(receiver, derive_trace_id(saga_id), *names)
                chain = [derive_span_id(saga_id, seq) for seq in range(1, 5)]
                assert [spans[name].span_id for name in names] == chain
                assert [spans[name].parent_id for name in names] == ["", *chain[:3]]  # each below the one before
        finally:
            engine.close()


@pytest.mark.timeout(240)
async def test_engine_goes_on_without_its_receiver_and_says_so_once(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    (nobody,) = find_free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{nobody}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    engine = EngineProcess(orders.file)

    def complaints() -> list[Any]:
        return [line for line in engine.log_lines() if line["message"].startswith("traces cannot be delivered")]

    try:
        await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            for batch in range(3):
                ids = await create_sagas(orders, 20, prefix=f"batch{batch}")
                await FinalStates(orders).wait_for(ids, timeout_seconds=60)
                await eventually(complaints, "the loss of traces is said")
        assert await asyncio.to_thread(engine.terminate) == 0
        assert len(complaints()) == 1
        assert not [line for line in engine.log_lines() if line.get("logger", "").startswith("opentelemetry")]
    finally:
        engine.close()


@pytest.mark.timeout(240)
async def test_without_an_endpoint_commands_carry_no_trace(
    kafka_broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        await post(f"{engine.url}/saga", {"associatedEntityId": "order-1", "metadata": {}}, CALLER)
        (command,) = await read_all(orders.bootstrap, orders.commands, until=bool, timeout_seconds=60)
        assert command.headers == ()
    finally:
        engine.close()
