"""What a batch did, as traces show it."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.definition import Machine, SagaId
from flowmachine.core.inputs import CommandDelivered
from flowmachine.core.trace import TraceContext, derive_span_id, derive_trace_id
from flowmachine.partition.partition import Partition
from flowmachine.wire.intake import CREATE_HEADERS
from flowmachine.wire.log import Headers, OutputRecord
from flowmachine.wire.message import command_headers
from flowmachine.wire.trace import decode_trace_context, encode_trace_context
from tests.support.builders import (
    COMMANDS,
    EVENTS,
    INTAKE,
    NOW_MS,
    SAGA_ID,
    create_record,
    event_record,
    get_saga,
    key_at_home,
    new_partition,
    order_machine,
    plan_and_confirm,
    put_saga,
    rest_machine,
    resumed,
    saga_after,
    without_state,
    written_by,
)

TRACE = derive_trace_id(SAGA_ID)
CALLER = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1")


def traced(whole: Machine | None = None, *, keeps: bool = True) -> Partition:
    partition = new_partition(whole)
    partition.sampler = lambda _: keeps
    return partition


def span(seq: int) -> str:
    return derive_span_id(SAGA_ID, seq)


def sent_contexts(records: list[OutputRecord]) -> list[TraceContext | None]:
    return [decode_trace_context(each.headers) for each in records if each.topic == COMMANDS]


def from_caller() -> Headers:
    return (*CREATE_HEADERS, *encode_trace_context(CALLER))


def test_nobody_who_wants_no_traces_has_anything_of_them() -> None:
    plan = new_partition().plan([create_record(headers=from_caller()), event_record("paymentExecuted")], [], NOW_MS)
    assert plan.traced == []
    assert all(not each.headers for each in written_by(plan))


def test_ids_follow_from_the_saga_and_its_first_change_is_above_all_others() -> None:
    plan = traced().plan([create_record(at_ms=5), event_record("paymentExecuted", offset=3, at_ms=9)], [], NOW_MS)
    created, paid = plan.traced
    assert (created.place.context.traceparent, created.place.parent_id) == (f"00-{TRACE}-{span(1)}-01", "")
    assert (paid.place.context.traceparent, paid.place.parent_id) == (f"00-{TRACE}-{span(2)}-01", span(1))
    assert sent_contexts(written_by(plan)) == [created.place.context, paid.place.context]
    assert (created.outcome, created.state_before, created.state, created.commands, created.at_ms) == (
        Outcome.CREATED,
        "",
        "paying",
        ("executePayment",),
        5,
    )
    assert (paid.outcome, paid.event, paid.state_before, paid.state, paid.seq) == (
        Outcome.ADVANCED,
        "paymentExecuted",
        "paying",
        "preparing",
        2,
    )
    assert (paid.topic, paid.partition, paid.offset, paid.at_ms) == (EVENTS, 0, 3, 9)


def test_batch_that_is_planned_again_makes_the_same_steps() -> None:
    partition = traced()
    records = [create_record(), event_record("paymentExecuted"), event_record("unheardOf", offset=1)]
    assert partition.plan(records, [], NOW_MS).traced == partition.plan(records, [], NOW_MS + 99).traced


def test_saga_stays_in_the_trace_of_its_creator_whichever_engine_goes_on() -> None:
    first = traced()
    plan = plan_and_confirm(first, [create_record(headers=from_caller())])
    (created,) = plan.traced
    assert (created.place.parent_id, created.place.link) == (CALLER.span_id, None)
    assert created.place.context.traceparent == f"00-{CALLER.trace_id}-{span(1)}-01"
    assert created.place.context.tracestate == "vendor=1"
    second = traced(keeps=False)  # the creator has decided that the trace is kept
    put_saga(second, get_saga(first))
    (paid,) = second.plan([event_record("paymentExecuted")], [], NOW_MS).traced
    assert (paid.place.context.trace_id, paid.place.parent_id) == (CALLER.trace_id, span(1))


def test_saga_without_a_creators_trace_keeps_nothing() -> None:
    partition = traced()
    plan_and_confirm(partition, [create_record(), event_record("paymentExecuted")])
    assert b"trace" not in msgspec.json.encode(get_saga(partition))


def test_creation_in_a_trace_is_kept_alike_whether_or_not_traces_are_wanted() -> None:
    """What stands in the log decides, so a replay makes the same saga."""
    one, other = traced(), new_partition()
    for partition in (one, other):
        plan_and_confirm(partition, [create_record(headers=from_caller())])
    assert get_saga(one) == get_saga(other)
    assert get_saga(one).trace == CALLER


def test_event_stands_below_the_context_that_its_service_passed_on() -> None:
    partition = traced()
    plan_and_confirm(partition, [create_record()])
    passed_on = TraceContext(f"00-{TRACE}-{'12' * 8}-01", "service=7")
    plan = partition.plan([event_record("paymentExecuted", headers=encode_trace_context(passed_on))], [], NOW_MS)
    (step,) = plan.traced
    assert (step.place.parent_id, step.place.link) == ("12" * 8, None)
    assert sent_contexts(written_by(plan)) == [TraceContext(f"00-{TRACE}-{span(2)}-01", "service=7")]


def test_event_of_another_trace_is_linked() -> None:
    partition = traced()
    plan_and_confirm(partition, [create_record()])
    record = event_record("paymentExecuted", headers=encode_trace_context(CALLER))
    (step,) = partition.plan([record], [], NOW_MS).traced
    assert (step.place.context.trace_id, step.place.parent_id, step.place.link) == (TRACE, span(1), CALLER)


def test_trace_that_is_not_kept_has_no_steps_but_says_so_to_services() -> None:
    plan = traced(keeps=False).plan([create_record()], [], NOW_MS)
    assert plan.traced == []
    assert sent_contexts(written_by(plan)) == [TraceContext(f"00-{TRACE}-{span(1)}-00")]


@pytest.mark.parametrize(
    ("label", "outcome", "is_failure"),
    [("unheardOf", Outcome.UNEXPECTED, True), ("__created__", Outcome.DUPLICATE, False)],
)
def test_event_that_changes_nothing_is_in_the_trace_too(label: str, outcome: Outcome, is_failure: bool) -> None:
    partition = traced()
    plan_and_confirm(partition, [create_record()])
    records = [event_record(label, offset=offset) for offset in (1, 2)]
    first, second = partition.plan(records, [], NOW_MS).traced
    assert (first.outcome, first.is_failure, first.place.parent_id) == (outcome, is_failure, span(1))
    assert len({span(1), first.place.context.span_id, second.place.context.span_id}) == 3


def test_held_event_and_its_end_are_in_the_trace() -> None:
    fewer = without_state(order_machine(), "preparing")
    partition = traced(fewer)
    put_saga(partition, saga_after(order_machine(), "paymentExecuted"))
    (held,) = plan_and_confirm(partition, [event_record("orderPrepared")]).traced
    assert (held.outcome, held.is_failure) == (Outcome.HELD, False)
    again = traced(order_machine())
    put_saga(again, get_saga(partition))
    (step,) = again.plan([], [resumed()], NOW_MS).traced
    assert (step.outcome, step.event, step.topic) == (Outcome.ADVANCED, "orderPrepared", "")


def test_command_over_http_keeps_the_creators_trace_and_its_end_is_no_step() -> None:
    partition = traced(rest_machine())
    plan = plan_and_confirm(partition, [create_record(headers=from_caller())])
    work, notify = plan.outboxes[SAGA_ID]
    assert (work.trace, notify.trace) == (CALLER, CALLER)
    settled = partition.plan([], [CommandDelivered(SagaId(SAGA_ID), work.id, NOW_MS)], NOW_MS)
    assert settled.traced == []


def test_forwarded_record_takes_its_context_along() -> None:
    partition = new_partition(home_partitions=2)
    key = key_at_home(1, home_partitions=2)
    record = event_record("paymentExecuted", key=key, headers=(("other", b"1"), *encode_trace_context(CALLER)))
    (forwarded,) = partition.plan([record], [], NOW_MS).records
    assert forwarded.topic == INTAKE
    assert decode_trace_context(forwarded.headers) == CALLER
    assert "other" not in dict(forwarded.headers)


def test_change_that_would_be_too_large_does_not_take_the_place_of_the_next() -> None:
    partition = new_partition(record_bytes_max=2_000)
    partition.sampler = lambda _: True
    plan_and_confirm(partition, [create_record()])
    records = [event_record("paymentExecuted", {"blob": "x" * 1_500}), event_record("paymentExecuted", offset=1)]
    refused, paid = partition.plan(records, [], NOW_MS).traced
    assert (refused.outcome, refused.is_failure, paid.outcome) == (Outcome.TOO_LARGE, True, Outcome.ADVANCED)
    assert paid.place.context.span_id == span(2) != refused.place.context.span_id


def test_command_has_its_id_beside_its_trace() -> None:
    partition = new_partition(has_command_ids=True)
    partition.sampler = lambda _: True
    ((key, _, headers),) = partition.plan([create_record()], [], NOW_MS).commands[COMMANDS, None]
    assert dict(headers) == {
        "traceparent": f"00-{TRACE}-{span(1)}-01".encode(),
        **dict(command_headers(key, 1, 0)),
    }
