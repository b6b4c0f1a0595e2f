"""How finished sagas leave memory and the log, and which may not."""

import pytest

from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import CommandDelivered, CommandFailed
from flowmachine.core.payload import decode_payload
from flowmachine.partition.batch import EXPIRED_PER_BATCH_MAX
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.log import OutputRecord
from tests.support.builders import (
    KEY,
    NOW_MS,
    SAGA_ID,
    SAGAS,
    create_record,
    event_record,
    get_saga,
    machine,
    new_partition,
    order_machine,
    plan_and_confirm,
    put_saga,
    rest_machine,
    saga_after,
    small_machine,
    state,
    without_state,
    written_by,
)

RETENTION_MS = 60_000
DUE_MS = NOW_MS + RETENTION_MS + 1
ONE_STATE = machine(state("only", is_final=True))


def finished(partition: Partition, *, key: bytes | str = KEY, at_ms: int = NOW_MS) -> None:
    """Let a saga of `small_machine` or `rest_machine` run to its end."""
    plan_and_confirm(partition, [create_record(key=key, at_ms=at_ms), event_record("stop", key=key, at_ms=at_ms)])


def tombstones_of(plan: BatchPlan) -> list[bytes | None]:
    return [each.key for each in written_by(plan) if each.topic == SAGAS and each.value is None]


def test_finished_saga_leaves_with_a_tombstone_once_its_time_is_up() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    assert not partition.sagas.has_expired(NOW_MS)
    assert partition.plan([], [], NOW_MS + RETENTION_MS).is_empty
    assert partition.sagas.has_expired(DUE_MS - RETENTION_MS)
    plan = plan_and_confirm(partition, now_ms=DUE_MS)
    assert written_by(plan) == [OutputRecord(SAGAS, KEY, None, partition=0)]
    assert not plan.is_empty
    assert KEY not in partition.sagas
    assert +partition.sagas.by_state == {}
    assert not partition.sagas.has_expired(DUE_MS)
    assert plan_and_confirm(partition, now_ms=DUE_MS).is_empty


def test_event_for_a_finished_saga_is_told_from_one_for_an_unknown_saga_until_then() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    late = [event_record("late")]
    assert [noted.outcome.value for noted in partition.plan(late, [], NOW_MS).unmatched] == ["finished"]
    plan_and_confirm(partition, now_ms=DUE_MS)
    assert [noted.outcome.value for noted in partition.plan(late, [], DUE_MS).unmatched] == ["unknown_saga"]


def test_sagas_that_have_not_finished_stay_for_ever() -> None:
    partition = new_partition()
    plan_and_confirm(partition, [create_record(), event_record("paymentExecuted")])
    assert partition.plan([], [], NOW_MS * 2).is_empty


def test_dropped_plan_loses_no_expiry() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    dropped = partition.plan([], [], DUE_MS)
    assert tombstones_of(dropped) == [KEY]
    assert plan_and_confirm(partition, now_ms=DUE_MS) == dropped
    assert len(partition.sagas) == 0


def test_many_finished_sagas_leave_in_several_batches() -> None:
    partition = new_partition(ONE_STATE)
    count = EXPIRED_PER_BATCH_MAX + 3
    plan_and_confirm(partition, [create_record(key=f"saga{number}", offset=number) for number in range(count)])
    assert len(tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS))) == EXPIRED_PER_BATCH_MAX
    assert len(tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS))) == 3
    assert len(partition.sagas) == 0


def test_only_those_leave_whose_time_is_up() -> None:
    partition = new_partition(small_machine())
    finished(partition, key="old")
    finished(partition, key="new", at_ms=NOW_MS + 10_000)
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [b"old"]
    assert list(partition.sagas) == [b"new"]
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + 10_000)) == [b"new"]


def test_saga_that_leaves_its_final_state_again_stays() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    plan_and_confirm(partition, [event_record("again")])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []
    assert get_saga(partition).current_state == "looping"


def test_saga_that_moves_in_the_batch_that_would_expire_it_stays() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    plan = plan_and_confirm(partition, [event_record("again", at_ms=DUE_MS)], now_ms=DUE_MS)
    assert tombstones_of(plan) == []
    plan_and_confirm(partition, [event_record("stop", at_ms=DUE_MS)], now_ms=DUE_MS)
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + RETENTION_MS)) == []
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + RETENTION_MS + 1)) == [KEY]


def test_saga_that_finished_twice_leaves_once_and_after_the_second_time() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    plan_and_confirm(partition, [event_record("again"), event_record("stop", at_ms=NOW_MS + 5)])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + 5)) == [KEY]
    finished(partition, key="b")
    plan_and_confirm(partition, [event_record("again", key="b"), event_record("stop", key="b")])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [b"b"]  # both entries of the queue are due


def test_saga_created_anew_after_it_expired_is_another_one() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    plan_and_confirm(partition, now_ms=DUE_MS)
    plan_and_confirm(partition, [create_record({"second": True}, at_ms=DUE_MS)], now_ms=DUE_MS)
    assert decode_payload(get_saga(partition).metadata) == {"second": True}
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS * 2)) == []


def test_finished_saga_leaves_after_a_restart_too() -> None:
    partition = new_partition(small_machine())
    put_saga(partition, saga_after(small_machine(), "stop"))
    assert partition.plan([], [], NOW_MS).is_empty
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [KEY]


def test_saga_that_another_owner_has_let_go_is_not_let_go_again() -> None:
    partition = new_partition(small_machine())
    finished(partition)
    partition.sagas.restore(KEY, None)
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []


# --- finished, but not done -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_restored", [False, True], ids=["in memory", "after a restart"])
def test_finished_saga_whose_commands_nobody_has_taken_yet_stays_until_they_are(is_restored: bool) -> None:
    """A command over HTTP is part of the record until a 2xx arrives: a tombstone would lose it."""
    partition = new_partition(rest_machine())
    finished(partition)
    entries = [entry.id for entry in partition.outbox(KEY)]
    if is_restored:
        partition = new_partition(rest_machine())
        put_saga(partition, saga_after(rest_machine(), "stop"))
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []
    assert [entry.id for entry in partition.outbox(KEY)] == entries
    settled = [CommandDelivered(SagaId(SAGA_ID), entry, DUE_MS) for entry in entries]
    plan_and_confirm(partition, [], settled, now_ms=DUE_MS)
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + RETENTION_MS)) == []
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS + RETENTION_MS + 1)) == [KEY]


def test_finished_saga_whose_command_waits_for_a_person_stays() -> None:
    whole = machine(state("only", is_final=True, sends=rest_machine().states[rest_machine().initial_state].command))
    partition = new_partition(whole)
    plan_and_confirm(partition, [create_record()])
    plan_and_confirm(partition, [], [CommandFailed(SagaId(SAGA_ID), "1", "503", NOW_MS)])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []
    assert get_saga(partition).outbox[0].failure == "503"


def test_finished_saga_that_holds_events_stays() -> None:
    partition = new_partition(without_state(small_machine(), "ended"))
    put_saga(partition, saga_after(small_machine(), "stop"))
    plan_and_confirm(partition, [event_record("again")])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == []
    assert [held.label for held in get_saga(partition).held] == ["again"]


def test_metadata_that_look_like_an_outbox_do_not_keep_a_saga() -> None:
    partition = new_partition(ONE_STATE)
    plan_and_confirm(partition, [create_record({"outbox": [1], "held": [2]})])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [KEY]


def test_sagas_behind_one_that_must_stay_leave_all_the_same() -> None:
    partition = new_partition(rest_machine())
    finished(partition, key="a")
    put_saga(partition, saga_after(small_machine(), "stop"), saga_id="b")
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [b"b"]


def test_orders_expire_like_any_other_saga() -> None:
    partition = new_partition(order_machine())
    plan_and_confirm(partition, [create_record(), event_record("paymentFailed")])
    assert tombstones_of(plan_and_confirm(partition, now_ms=DUE_MS)) == [KEY]


def test_plan_ahead_does_not_take_the_same_entries_out_of_the_queue_again() -> None:
    partition = new_partition(small_machine())
    plan_and_confirm(partition, [create_record(key="a"), event_record("stop", key="a")])
    plan_and_confirm(partition, [event_record("again", key="a")])  # leaves a stale entry in the queue
    later_ms = NOW_MS + 60_001
    first = partition.plan([event_record("noise", key="a")], [], later_ms)
    second = partition.plan([event_record("noise", key="a", offset=1)], [], later_ms, after=first)
    assert (first.expired_count, second.expired_count) == (1, 0)
    partition.confirm(first)
    partition.confirm(second)
