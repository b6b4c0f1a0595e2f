"""Sagas whose state is not in the machine: what comes for them is held, and applied when a machine knows the state."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.decide import HELD_EVENTS_MAX
from flowmachine.core.definition import Machine
from flowmachine.core.payload import decode_payload
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import Unmatched
from flowmachine.wire.message import encode_message
from tests.support.builders import (
    KEY,
    NOW_MS,
    SAGA_ID,
    SAGAS,
    UNMATCHED,
    commands_of,
    create_record,
    event_record,
    get_saga,
    history_of,
    new_partition,
    order_machine,
    plan_and_confirm,
    resumed,
    without_state,
    written_by,
)

ORDERS = order_machine()
GONE = without_state(ORDERS, "preparing")


def under(whole: Machine, before: Partition) -> Partition:
    """The partition after a restart with another machine."""
    partition = new_partition(whole)
    for key in before.sagas:
        partition.sagas.restore(key, before.sagas.get(key))
    return partition


def waiting(*labels: str) -> Partition:
    """A saga in `preparing`, a state that the machine has lost, that has seen these events since."""
    partition = new_partition()
    plan_and_confirm(partition, [create_record(), event_record("paymentExecuted")])
    partition = under(GONE, partition)
    for label in labels:
        plan_and_confirm(partition, [event_record(label, {label: True})])
    return partition


def test_event_is_held_in_the_record_and_not_kept_as_unmatched() -> None:
    partition = waiting()
    plan = plan_and_confirm(partition, [event_record("orderPrepared", {"a": 1})])
    assert plan.outcomes == {Outcome.HELD: 1}
    assert [each.topic for each in written_by(plan)] == [SAGAS]
    assert (plan.unmatched, plan.resumable, plan.entered) == ([], [], {})
    assert [each.label for each in get_saga(partition).held] == ["orderPrepared"]
    assert +partition.sagas.by_state == {"preparing": 1}


def test_event_beyond_what_a_saga_may_hold_is_kept_as_unmatched() -> None:
    partition = waiting()
    events = [event_record(f"event{number}", offset=number) for number in range(HELD_EVENTS_MAX + 1)]
    plan = plan_and_confirm(partition, events)
    assert plan.outcomes == {Outcome.HELD: HELD_EVENTS_MAX, Outcome.HELD_TOO_MANY: 1}
    assert [each.value for each in written_by(plan) if each.topic == UNMATCHED] == [events[-1].value]


def test_saga_with_held_events_is_found_after_a_restart_with_a_machine_that_knows_its_state() -> None:
    partition = waiting("orderPrepared")
    assert not partition.is_resumable(KEY)
    partition = under(ORDERS, partition)
    assert partition.sagas.needing_work() == [KEY]
    assert partition.is_resumable(KEY)
    assert not partition.is_resumable(b"nobody")


def test_resuming_applies_one_held_event_after_the_other() -> None:
    partition = under(ORDERS, waiting("orderPrepared", "orderDelivered"))
    plan = plan_and_confirm(partition, [], [resumed()])
    assert plan.outcomes == {Outcome.ADVANCED: 1}
    assert commands_of(plan) == [("commands", "deliverOrder")]
    assert plan.entered == {("delivering", "orderPrepared"): 1}
    assert plan.resumable == [SAGA_ID]
    plan = plan_and_confirm(partition, [], [resumed()])
    assert plan.resumable == []
    assert get_saga(partition).current_state == "delivered"
    assert decode_payload(get_saga(partition).metadata) == {"orderPrepared": True, "orderDelivered": True}
    assert +partition.sagas.by_state == {"delivered": 1}


def test_held_event_that_changes_nothing_is_kept_with_its_content() -> None:
    partition = under(ORDERS, waiting("orderDelivered"))
    seq = get_saga(partition).seq
    plan = plan_and_confirm(partition, [], [resumed()])
    origin = f"{SAGAS}/0/{seq}"
    assert plan.outcomes == {Outcome.UNEXPECTED: 1}
    assert plan.unmatched == [
        Unmatched(
            Outcome.UNEXPECTED,
            "state 'preparing' does not list event 'orderDelivered'",
            origin,
            SAGA_ID,
            "orderDelivered",
        )
    ]
    (kept,) = (each for each in written_by(plan) if each.topic == UNMATCHED)
    assert (kept.key, kept.value) == (KEY, encode_message("orderDelivered", {"orderDelivered": True}))
    assert dict(kept.headers)["flowmachine-origin"] == origin.encode()
    assert dict(kept.headers)["flowmachine-reason"].startswith(b"held before: ")
    assert get_saga(partition).held == ()


def test_resuming_twice_does_no_harm() -> None:
    partition = under(ORDERS, waiting("orderPrepared"))
    plan = plan_and_confirm(partition, [], [resumed(), resumed()])
    assert plan.outcomes == {Outcome.ADVANCED: 1, Outcome.DUPLICATE: 1}
    assert plan.unmatched == []
    assert get_saga(partition).current_state == "delivering"


@pytest.mark.parametrize("kicks", [0, 1, 2], ids=["before it is resumed", "while it is resumed", "resumed"])
def test_new_event_does_not_overtake_held_ones(kicks: int) -> None:
    """Guarantee G3: inputs of a saga are applied in the order in which they reached its partition."""
    partition = under(ORDERS, waiting("orderPrepared", "noise"))
    plan = plan_and_confirm(partition, [event_record("orderDelivered")], [resumed()] * kicks)
    saga = get_saga(partition)
    assert [each["event"] for each in history_of(saga)["events"]] == [
        "__created__",
        "paymentExecuted",
        "orderPrepared",
        "orderDelivered",
    ]
    assert saga.held == ()
    assert plan.outcomes == {Outcome.ADVANCED: 2, Outcome.UNEXPECTED: 1}
    assert [each.label for each in plan.unmatched] == ["noise"]
    assert plan.resumable == []


def test_an_event_that_would_move_the_saga_waits_for_the_held_ones_all_the_same() -> None:
    partition = under(ORDERS, waiting("noise"))
    plan = plan_and_confirm(partition, [event_record("orderPrepared")])
    assert plan.outcomes == {Outcome.ADVANCED: 1, Outcome.UNEXPECTED: 1}
    assert get_saga(partition).held == ()


def test_malformed_record_does_not_disturb_held_events() -> None:
    partition = under(ORDERS, waiting("orderPrepared"))
    plan = plan_and_confirm(partition, [msgspec.structs.replace(event_record("x"), value=b"junk")])
    assert plan.outcomes[Outcome.MALFORMED] == 1
    assert plan_and_confirm(partition, [], [resumed()] * len(get_saga(partition).held)).outcomes.total() <= 1
    assert get_saga(partition).current_state == "delivering"


def test_second_creation_of_a_saga_that_holds_events_is_a_duplicate() -> None:
    partition = under(ORDERS, waiting("orderPrepared"))
    plan = plan_and_confirm(partition, [create_record()])
    assert plan.outcomes[Outcome.DUPLICATE] == 1


def test_saga_goes_on_holding_while_the_machine_does_not_know_its_state() -> None:
    partition = waiting("orderPrepared")
    plan = plan_and_confirm(partition, [event_record("orderDelivered")], [resumed()])
    assert plan.outcomes == {Outcome.DUPLICATE: 1, Outcome.HELD: 1}
    assert [each.label for each in get_saga(partition).held] == ["orderPrepared", "orderDelivered"]


def test_times_of_held_events_are_those_of_their_arrival() -> None:
    partition = waiting()
    plan_and_confirm(partition, [event_record("orderPrepared", at_ms=NOW_MS + 1_234)])
    partition = under(ORDERS, partition)
    plan_and_confirm(partition, [], [resumed()], now_ms=NOW_MS + 10**7)
    assert get_saga(partition).updated_at == "2025-10-09T08:53:21.234Z"
