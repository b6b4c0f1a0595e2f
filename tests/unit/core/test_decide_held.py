"""`decide`: events that the machine has no state for wait in the saga."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.decide import HELD_EVENTS_MAX, decide
from flowmachine.core.definition import Machine
from flowmachine.core.payload import decode_payload
from tests.support.builders import (
    NOW_MS,
    advance,
    event,
    order_machine,
    refuse_unless,
    resumed,
    saga_after,
    small_machine,
    without_state,
)

ORDERS = order_machine()
LATER = "2025-10-09T08:53:21.234Z"

GONE = without_state(ORDERS, "preparing")
"""The order machine after somebody has deleted a state in which sagas are."""


def test_event_in_a_state_that_the_machine_does_not_know_is_held() -> None:
    saga = saga_after(ORDERS, "paymentExecuted")
    decision = decide(GONE, saga, event("orderPrepared", {"a": 1}, at_ms=NOW_MS + 5))
    assert (decision.outcome, decision.commands) == (Outcome.HELD, ())
    assert "'preparing'" in decision.reason
    assert "r2" in decision.reason
    held = decision.saga
    assert held is not None
    assert [(each.label, each.payload, each.received_at_ms) for each in held.held] == [
        ("orderPrepared", {"a": 1}, NOW_MS + 5)
    ]
    assert held.seq == saga.seq + 1
    assert msgspec.structs.replace(held, seq=saga.seq, held=()) == saga


def test_final_saga_in_an_unknown_state_holds_events_too() -> None:
    saga = saga_after(ORDERS, "paymentFailed")
    assert decide(without_state(ORDERS, "failed"), saga, event("any")).outcome is Outcome.HELD


def test_saga_that_holds_as_many_events_as_it_may_takes_no_more() -> None:
    saga = saga_after(ORDERS, "paymentExecuted")
    for number in range(HELD_EVENTS_MAX):
        saga = advance(GONE, saga, event(f"event{number}"))
    decision = decide(GONE, saga, event("one more"))
    assert decision.outcome is Outcome.HELD_TOO_MANY
    assert decision.saga is saga
    assert decision.reason


def test_resumed_saga_applies_its_oldest_held_event_with_the_time_of_that_event() -> None:
    saga = saga_after(ORDERS, "paymentExecuted")
    saga = advance(GONE, saga, event("orderPrepared", {"a": 1}, at_ms=NOW_MS + 1_234))
    saga = advance(GONE, saga, event("orderDelivered"))
    decision = decide(ORDERS, saga, resumed())
    assert decision.outcome is Outcome.ADVANCED
    assert [sent.label for sent in decision.commands] == ["deliverOrder"]
    moved = decision.saga
    assert moved is not None
    assert (moved.current_state, decode_payload(moved.metadata), moved.updated_at) == ("delivering", {"a": 1}, LATER)
    assert [each.label for each in moved.held] == ["orderDelivered"]
    assert advance(ORDERS, moved, resumed()).current_state == "delivered"


@pytest.mark.parametrize(
    ("label", "outcome"),
    [("orderDelivered", Outcome.UNEXPECTED), ("paymentExecuted", Outcome.DUPLICATE)],
)
def test_held_event_that_changes_nothing_leaves_the_saga(label: str, outcome: Outcome) -> None:
    before = saga_after(ORDERS, "paymentExecuted")
    held = advance(GONE, before, event(label))
    decision = decide(ORDERS, held, resumed())
    assert (decision.outcome, decision.commands) == (outcome, ())
    assert decision.saga is not None
    assert decision.saga.held == ()
    assert msgspec.structs.replace(decision.saga, seq=before.seq) == before
    assert decision.saga.seq == held.seq + 1


def test_held_event_of_a_finished_saga_is_judged_like_any_other() -> None:
    held = advance(without_state(ORDERS, "failed"), saga_after(ORDERS, "paymentFailed"), event("late"))
    assert decide(ORDERS, held, resumed()).outcome is Outcome.FINISHED


def test_held_event_with_a_payload_that_fails_its_check_leaves_the_saga() -> None:
    whole = small_machine(check=refuse_unless("amount"))
    held = advance(without_state(whole, "looping"), saga_after(whole), event("step"))
    decision = decide(whole, held, resumed())
    assert decision.outcome is Outcome.INVALID_PAYLOAD
    assert decision.saga is not None
    assert decision.saga.held == ()


@pytest.mark.parametrize("whole", [ORDERS, GONE], ids=["nothing held", "state still unknown"])
def test_there_may_be_nothing_to_resume(whole: Machine) -> None:
    saga = saga_after(ORDERS, "paymentExecuted")
    if whole is GONE:
        saga = advance(GONE, saga, event("orderPrepared"))
    decision = decide(whole, saga, resumed())
    assert (decision.outcome, decision.reason) == (Outcome.DUPLICATE, "nothing to resume")
    assert decision.saga is saga


def test_every_change_counts_one_also_that_of_a_resumed_saga() -> None:
    held = advance(GONE, saga_after(ORDERS, "paymentExecuted"), event("orderPrepared"))
    assert advance(ORDERS, held, resumed()).seq == held.seq + 1
