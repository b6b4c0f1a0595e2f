"""Spans as a receiver of OTLP gets them, and what happens when there is none."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import pytest

from dev.addresses import find_free_ports
from flowmachine.adapters.opentelemetry import opened_tracer
from flowmachine.adapters.opentelemetry.opened import find_obstacle, wanted_endpoint
from flowmachine.core.payload import encode_payload
from flowmachine.core.saga import OutboxEntry
from flowmachine.core.trace import TraceContext, derive_span_id, derive_trace_id
from flowmachine.ports import Tracer
from flowmachine.wire.intake import CREATE_HEADERS
from flowmachine.wire.trace import encode_trace_context
from tests.support.builders import NOW_MS, SAGA_ID, create_record, event_record, new_partition
from tests.support.eventually import eventually
from tests.support.otlp import Receiver, otlp_receiver

TRACE = derive_trace_id(SAGA_ID)
FIRST = derive_span_id(SAGA_ID, 1)
CALLER = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1")
WORK = OutboxEntry("2", "http", "work", encode_payload({}))
OF_THIS_ENGINE = {"machine": "orders", "revision": "abc", "version": "1.2.3"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """As little of OpenTelemetry's configuration as an engine may find."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    return os.environ


def tell(tracer: Tracer, *records: object) -> None:
    partition = new_partition()
    partition.sampler = tracer.is_sampled
    plan = partition.plan(list(records), [], NOW_MS)  # type: ignore[arg-type]
    tracer.committed(plan.traced, NOW_MS + 30)


async def deliver(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    async with opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
        assert tracer is not None
        tell(tracer, create_record(), event_record("paymentExecuted", offset=7), event_record("unheardOf", offset=8))
        span = tracer.start_delivery(SAGA_ID, WORK, 3)
        assert span.headers.keys() == {"traceparent"}
        span.end("answered 503")


async def test_steps_and_deliveries_reach_a_receiver_as_spans_of_one_trace(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    with otlp_receiver() as receiver:
        await deliver(receiver, monkeypatch, environment)
        spans = {span.name: span for span in receiver.spans}
    assert set(spans) == {"create saga", "event paymentExecuted", "unexpected event", "send work"}
    assert {span.trace_id for span in spans.values()} == {TRACE}
    created, paid, strange, sent = (
        spans[name] for name in ("create saga", "event paymentExecuted", "unexpected event", "send work")
    )
    assert (created.span_id, created.parent_id) == (FIRST, "")
    assert (paid.span_id, paid.parent_id) == (derive_span_id(SAGA_ID, 2), FIRST)
    assert (strange.parent_id, sent.parent_id) == (FIRST, paid.span_id)
    assert (created.start_ns, created.end_ns) == (NOW_MS * 1_000_000, (NOW_MS + 30) * 1_000_000)
    assert paid.attributes == {
        "flowmachine.saga.id": SAGA_ID,
        "flowmachine.saga.seq": 2,
        "flowmachine.outcome": "advanced",
        "flowmachine.event": "paymentExecuted",
        "flowmachine.state.before": "paying",
        "flowmachine.state": "preparing",
        "flowmachine.commands": ["prepareOrder"],
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "events",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 7,
        "messaging.kafka.message.key": SAGA_ID,
    }
    assert (created.is_error, paid.is_error, strange.is_error) == (False, False, True)
    assert "does not list event 'unheardOf'" in strange.message
    assert (sent.is_error, sent.message, sent.attributes["flowmachine.attempt"]) == (True, "answered 503", 3)
    assert created.resource["service.name"] == "flowmachine-orders"
    assert (created.resource["flowmachine.machine"], created.resource["flowmachine.revision"]) == ("orders", "abc")


async def test_context_of_the_creator_is_kept_and_linked(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    creation = create_record(headers=(*CREATE_HEADERS, *encode_trace_context(CALLER)))
    other = TraceContext(CALLER.traceparent.replace("4bf9", "5bf9"))
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "orders-of-ours")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        async with opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
            assert tracer is not None
            tell(tracer, creation, event_record("paymentExecuted", headers=encode_trace_context(other)))
            entry = OutboxEntry("1", "http", "work", encode_payload({}), trace=CALLER)
            headers = tracer.start_delivery(SAGA_ID, entry, 1).headers
        created, paid = receiver.of(CALLER.trace_id)
    assert headers["traceparent"].startswith(f"00-{CALLER.trace_id}-")
    assert headers["tracestate"] == "vendor=1"
    assert (created.parent_id, created.links) == (CALLER.span_id, ())
    assert paid.links == ((other.trace_id, other.span_id),)
    assert created.resource["service.name"] == "orders-of-ours"


async def test_state_that_makes_no_sense_is_no_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    bad = TraceContext(CALLER.traceparent, "no state at all")
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        async with opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
            assert tracer is not None
            tell(tracer, create_record(headers=(*CREATE_HEADERS, *encode_trace_context(bad))))
        assert [span.name for span in receiver.of(CALLER.trace_id)] == ["create saga"]
    assert not [line for line in caplog.records if line.name.startswith("opentelemetry")]


async def test_sampler_of_the_environment_decides_by_the_trace(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
        traces = [derive_trace_id(f"order-{number}") for number in range(1000)]
        async with (
            opened_tracer(environment, **OF_THIS_ENGINE) as tracer,
            opened_tracer(environment, **OF_THIS_ENGINE) as other,
        ):
            assert tracer is not None
            assert other is not None
            kept = [trace for trace in traces if tracer.is_sampled(trace)]
            assert kept == [trace for trace in traces if other.is_sampled(trace)]
            unkept = next(n for n in range(1000) if derive_trace_id(f"order-{n}") not in kept)
            span = tracer.start_delivery(f"order-{unkept}", WORK, 1)
            assert span.headers["traceparent"].endswith("-00")
            span.end(None)
    assert 200 < len(kept) < 300
    assert receiver.spans == []


async def test_receiver_that_is_away_is_said_once_and_so_is_its_return(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    (port,) = find_free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{port}/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    caplog.set_level(logging.INFO)

    def lines(start: str) -> list[logging.LogRecord]:
        return [line for line in caplog.records if line.getMessage().startswith(start)]

    async with AsyncExitStack() as stack, opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
        assert tracer is not None
        for _ in range(2):
            tell(tracer, create_record())
            await eventually(lambda: lines("traces cannot be delivered"), "the loss is said")
        receiver = stack.enter_context(otlp_receiver(port))

        def tell_until_it_comes() -> bool:
            tell(tracer, create_record())
            return bool(receiver.spans)

        await eventually(tell_until_it_comes, "spans arrive again")
        await eventually(lambda: lines("traces are delivered again"), "that is said, too")
    (line,) = lines("traces cannot be delivered")
    assert line.__dict__["reason"]
    assert {each.name for each in caplog.records if each.name.startswith("opentelemetry")} == set()


async def test_engine_stops_in_time_although_nobody_takes_its_spans(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> None:
    (port,) = find_free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("flowmachine.adapters.opentelemetry.exporter.CLOSE_SECONDS_MAX", 0.1)
    async with opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
        assert tracer is not None
        tell(tracer, create_record())


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, "http://a"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b"}, "http://b"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_SDK_DISABLED": "True"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_TRACES_EXPORTER": "otlp"}, "http://a"),
    ],
)
def test_traces_are_wanted_only_where_an_endpoint_is_named(variables: dict[str, str], wanted: str | None) -> None:
    assert wanted_endpoint(variables) == wanted


async def test_without_an_endpoint_there_is_no_tracer(environment: Mapping[str, str]) -> None:
    async with opened_tracer(environment, **OF_THIS_ENGINE) as tracer:
        assert tracer is None


async def test_what_stands_against_traces_is_said_and_the_engine_starts(caplog: pytest.LogCaptureFixture) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    async with opened_tracer(variables, **OF_THIS_ENGINE) as tracer:
        assert tracer is None
    (line,) = caplog.records
    assert "http/protobuf only" in line.__dict__["reason"]


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)  # type: ignore[arg-type] # as if it were not installed
    reason = find_obstacle({})
    assert reason is not None
    assert "flowmachine-operator[tracing]" in reason
