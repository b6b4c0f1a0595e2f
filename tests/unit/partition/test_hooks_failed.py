"""Hooks that fail: the partition goes on, the saga is on hold with the reason, and goes on with a corrected machine."""

from typing import Any

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Command, HookError, Machine, Payload, SagaId
from flowmachine.core.merge import UNDEFINED, merge_deep
from flowmachine.core.payload import decode_payload
from flowmachine.core.saga import Hold, Saga
from flowmachine.partition.partition import Partition
from tests.support.builders import (
    COMMANDS,
    DONE,
    NOW_MS,
    SAGAS,
    command,
    commands_of,
    create,
    create_record,
    event,
    event_record,
    get_saga,
    history_of,
    machine,
    new_partition,
    plan_and_confirm,
    recount,
    resumed,
    state,
    transition,
    written_by,
)


def failing(saga_id: SagaId, saga: Saga) -> Payload:
    raise HookError(f"no payload for {decode_payload(saga.metadata).get('name')}")


def working(saga_id: SagaId, saga: Saga) -> Payload:
    return {"id": saga_id, "state": saga.current_state, "seen": decode_payload(saga.metadata)}


def built(label: str, build: Any, channel: str = "log") -> Command:
    return msgspec.structs.replace(command(label, channel), build=build)


def shop(build: Any, revision: str, *, side: Any = working, channel: str = "log") -> Machine:
    return machine(
        state("new", transition("paid", "open")),
        state(
            "open",
            transition("packed", "shipped"),
            sends=built("pack", build, channel),
            side_commands=[built("tell", side)],
        ),
        state("shipped", is_final=True, business_state=DONE, sends=command("ship")),
        revision=revision,
    )


BROKEN, CORRECTED = shop(failing, "r1"), shop(working, "r2")


def on_hold(*labels: str, whole: Machine = BROKEN) -> Partition:
    partition = new_partition(whole)
    plan_and_confirm(partition, [create_record({"name": "Ada"}), event_record("paid", {"sum": 1})])
    for label in labels:
        plan_and_confirm(partition, [event_record(label, {label: True})])
    return partition


def under(whole: Machine, before: Partition) -> Partition:
    partition = new_partition(whole)
    for key in before.sagas:
        partition.sagas.restore(key, before.sagas.get(key))
    return partition


def payloads_of(plan: Any) -> list[Any]:
    return [msgspec.json.decode(each.value) for each in written_by(plan) if each.topic == COMMANDS]


def test_saga_enters_its_state_and_waits_with_the_reason() -> None:
    partition = new_partition(BROKEN)
    plan = plan_and_confirm(partition, [create_record({"name": "Ada"}), event_record("paid", {"sum": 1})])
    saga = get_saga(partition)
    assert saga.hold == Hold("no payload for Ada", "r1", "pack")
    assert (saga.current_state, saga.seq, decode_payload(saga.metadata)) == ("open", 2, {"name": "Ada", "sum": 1})
    assert [each["state"] for each in history_of(saga)["states"]] == ["new", "open"]
    assert commands_of(plan) == [(COMMANDS, "tell")]
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.ADVANCED: 1}
    assert [(each.saga_id, each.state, each.failure.command) for each in plan.failed_hooks] == [
        ("order-1", "open", "pack")
    ]
    assert (+partition.sagas.by_state, +partition.sagas.held_by_state) == ({"open": 1}, {"open": 1})


def test_other_sagas_of_the_batch_are_not_touched() -> None:
    def picky(saga_id: SagaId, saga: Saga) -> Payload:
        return failing(saga_id, saga) if saga_id == "order-2" else working(saga_id, saga)

    partition = new_partition(shop(picky, "r1"))
    ids = ["order-1", "order-2", "order-3"]
    plan = plan_and_confirm(
        partition, [create_record(key=each) for each in ids] + [event_record("paid", key=each) for each in ids]
    )
    assert [value["messageLabel"] for value in payloads_of(plan)] == ["pack", "tell", "tell", "pack", "tell"]
    assert [get_saga(partition, each).hold is None for each in ids] == [True, False, True]
    assert recount(partition) == {"open": 3}


def test_events_wait_behind_the_command() -> None:
    partition = on_hold()
    plan = plan_and_confirm(partition, [event_record("packed"), event_record("nonsense")])
    assert plan.outcomes == {Outcome.HELD: 2}
    assert [each.label for each in get_saga(partition).held] == ["packed", "nonsense"]
    assert (plan.unmatched, plan.resumable) == ([], [])


def test_command_goes_out_with_a_corrected_machine_and_then_what_waited() -> None:
    partition = under(CORRECTED, on_hold("packed", "nonsense"))
    assert +partition.sagas.held_by_state == {"open": 1}
    assert partition.is_resumable(b"order-1")
    plan = plan_and_confirm(partition, internal=[resumed()])
    assert payloads_of(plan) == [
        {
            "messageLabel": "pack",
            "messagePayload": {"id": "order-1", "state": "open", "seen": {"name": "Ada", "sum": 1}},
        }
    ]
    assert (plan.outcomes, plan.resumable, plan.entered) == ({Outcome.RESUMED: 1}, ["order-1"], {})
    saga = get_saga(partition)
    assert (saga.hold, saga.revision, len(saga.held)) == (None, "r2", 2)
    plan = plan_and_confirm(partition, internal=[resumed(), resumed()])
    assert [value["messageLabel"] for value in payloads_of(plan)] == ["ship"]
    assert [(each.outcome, each.label) for each in plan.unmatched] == [(Outcome.FINISHED, "nonsense")]
    saga = get_saga(partition)
    assert (saga.current_state, saga.held, +partition.sagas.held_by_state) == ("shipped", (), {})
    assert decode_payload(saga.metadata) == {"name": "Ada", "sum": 1, "packed": True}


def test_event_that_comes_with_the_corrected_machine_does_not_overtake() -> None:
    partition = under(CORRECTED, on_hold())
    plan = plan_and_confirm(partition, [event_record("packed")])
    assert [value["messageLabel"] for value in payloads_of(plan)] == ["pack", "ship"]
    assert get_saga(partition).current_state == "shipped"


def test_same_machine_is_tried_once_when_an_engine_starts_and_changes_nothing() -> None:
    partition = under(BROKEN, on_hold("packed"))
    assert partition.is_resumable(b"order-1")
    before = get_saga(partition)
    plan = plan_and_confirm(partition, internal=[resumed()])
    assert (written_by(plan), plan.outcomes) == ([], {Outcome.DUPLICATE: 1})
    assert get_saga(partition) == before
    assert len(plan.failed_hooks) == 1


def test_another_broken_machine_says_its_own_reason_once() -> None:
    def otherwise(saga_id: SagaId, saga: Saga) -> Payload:
        raise HookError("still not")

    partition = under(shop(otherwise, "r2"), on_hold())
    plan = plan_and_confirm(partition, [event_record("packed")])
    assert get_saga(partition).hold == Hold("still not", "r2", "pack")
    assert plan.outcomes == {Outcome.HELD: 2}
    assert [each.topic for each in written_by(plan)] == [SAGAS]


def test_machine_without_the_command_lets_the_saga_go() -> None:
    partition = under(machine(*[state("new"), state("open", transition("packed", "new"))], revision="r3"), on_hold())
    plan = plan_and_confirm(partition, internal=[resumed()])
    assert (payloads_of(plan), get_saga(partition).hold) == ([], None)


def test_command_of_the_initial_state_goes_out_later_too() -> None:
    def starting(build: Any, revision: str) -> Machine:
        return machine(state("new", transition("paid", "new"), sends=built("pay", build)), revision=revision)

    partition = new_partition(starting(failing, "r1"))
    plan_and_confirm(partition, [create_record()])
    assert get_saga(partition).hold is not None
    plan = plan_and_confirm(under(starting(working, "r2"), partition), internal=[resumed()])
    assert [value["messageLabel"] for value in payloads_of(plan)] == ["pay"]


def test_command_over_http_enters_the_outbox_once_it_can_be_made() -> None:
    partition = on_hold(whole=shop(failing, "r1", channel="rest"))
    assert get_saga(partition).outbox == ()
    partition = under(shop(working, "r2", channel="rest"), partition)
    plan_and_confirm(partition, internal=[resumed()])
    (entry,) = get_saga(partition).outbox
    assert (entry.id, entry.label, decode_payload(entry.payload)["state"], entry.is_side_command) == (
        "3",
        "pack",
        "open",
        False,
    )


def test_side_command_that_cannot_be_made_is_left_out_and_holds_nothing() -> None:
    partition = new_partition(shop(working, "r1", side=failing))
    plan = plan_and_confirm(partition, [create_record({"name": "Ada"}), event_record("paid")])
    assert commands_of(plan) == [(COMMANDS, "pack")]
    assert get_saga(partition).hold is None
    assert [(each.failure.command, each.failure.is_side_command) for each in plan.failed_hooks] == [("tell", True)]


def merging(customize: Any, revision: str) -> Machine:
    whole = machine(state("on", transition("step", "on"), sends=command("work")), revision=revision)
    return msgspec.structs.replace(whole, merge=merge_deep, customize=lambda saga_id, at_ms: customize)


def refusing(old: Any, new: Any) -> Any:
    if new == "bad":
        raise HookError("bad value")
    return UNDEFINED


def test_event_that_cannot_be_merged_is_held_and_keeps_its_place() -> None:
    partition = new_partition(merging(refusing, "r1"))
    plan = plan_and_confirm(
        partition,
        [
            create_record(),
            event_record("step", {"a": "good"}),
            event_record("step", {"a": "bad"}),
            event_record("step", {"a": 3}),
        ],
    )
    saga = get_saga(partition)
    assert (saga.hold, decode_payload(saga.metadata)) == (Hold("bad value", "r1"), {"a": "good"})
    assert [each.payload["a"] for each in saga.held] == ["bad", 3]
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.ADVANCED: 1, Outcome.HELD: 2}
    partition = under(merging(refusing, "r2"), partition)
    plan_and_confirm(partition, internal=[resumed()])
    saga = get_saga(partition)
    assert (saga.hold, [each.payload["a"] for each in saga.held]) == (Hold("bad value", "r2"), ["bad", 3])
    partition = under(merging(lambda old, new: UNDEFINED, "r3"), partition)
    plan_and_confirm(partition, internal=[resumed(), resumed()])
    saga = get_saga(partition)
    assert (saga.hold, saga.held, decode_payload(saga.metadata)) == (None, (), {"a": 3})
    assert len(history_of(saga)["events"]) == 4


def test_finished_saga_on_hold_is_not_forgotten() -> None:
    ended = machine(state("end", is_final=True, sends=built("close", failing)), revision="r1")
    partition = new_partition(ended, retention_finished_ms=1000)
    plan_and_confirm(partition, [create_record()])
    plan_and_confirm(partition, now_ms=NOW_MS + 10_000)
    assert get_saga(partition).hold is not None


def test_made_payload_that_is_too_large_keeps_the_saga_on_hold() -> None:
    def huge(saga_id: SagaId, saga: Saga) -> Payload:
        return {"a": "x" * 3000}

    partition = new_partition(shop(huge, "r2"), record_bytes_max=2500)
    before = on_hold()
    for key in before.sagas:
        partition.sagas.restore(key, before.sagas.get(key))
    plan = plan_and_confirm(partition, internal=[resumed()])
    assert plan.outcomes == {Outcome.HELD: 1}
    hold = get_saga(partition).hold
    assert hold is not None
    assert "at most 2500" in hold.reason


def test_hook_sees_the_saga_in_its_new_state() -> None:
    seen: list[tuple[str, str, Payload]] = []

    def watch(saga_id: SagaId, saga: Saga) -> Payload:
        seen.append((saga_id, saga.current_state, decode_payload(saga.metadata)))
        return {}

    whole = shop(watch, "r1")
    saga = decide(whole, None, create({"a": 1})).saga
    decide(whole, saga, event("paid", {"b": 2}))
    assert seen == [("order-1", "open", {"a": 1, "b": 2})]


@pytest.mark.parametrize("whole", [BROKEN, CORRECTED])
def test_resumed_without_a_reason_changes_nothing(whole: Machine) -> None:
    partition = new_partition(whole)
    plan_and_confirm(partition, [create_record()])
    assert written_by(plan_and_confirm(partition, internal=[resumed()])) == []
