"""How records are cut into batches, and what becomes of the transactions, makes no difference to what comes out."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.definition import Machine
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.wire.log import OutputRecord, StoredRecord
from tests.support.builders import (
    SAGAS,
    UNMATCHED,
    new_partition,
    plan_and_confirm,
    recount,
    resumed,
    without_state,
    written_by,
)
from tests.support.strategies import heavy, machines, record_lists, splits

FOR_EVER_MS = 2**62


def run(whole: Machine, batches: Iterable[list[StoredRecord]]) -> tuple[Partition, list[BatchPlan]]:
    partition = new_partition(whole, retention_finished_ms=FOR_EVER_MS)
    return partition, [plan_and_confirm(partition, batch) for batch in batches]


def written(plans: Iterable[BatchPlan]) -> list[OutputRecord]:
    """All that others see, in the order of each topic."""
    found = [each for plan in plans for each in written_by(plan) if each.topic != SAGAS]
    return sorted(found, key=lambda each: each.topic)


@heavy
@given(st.data(), machines(), record_lists())
def test_batching_is_irrelevant(data: st.DataObject, whole: Machine, records: list[StoredRecord]) -> None:
    partition, plans = run(whole, data.draw(splits(records)))
    other, other_plans = run(whole, [[each] for each in records])
    assert partition.sagas._records == other.sagas._records
    assert written(plans) == written(other_plans)
    assert [noted for plan in plans for noted in plan.unmatched] == [
        noted for plan in other_plans for noted in plan.unmatched
    ]
    for name in ("outcomes", "entered", "state_changes"):
        assert total(plans, name) == total(other_plans, name)
    assert +partition.sagas.by_state == recount(partition) == +other.sagas.by_state


def total(plans: Iterable[BatchPlan], name: str) -> dict[object, int]:
    counts: dict[object, int] = {}
    for plan in plans:
        for what, count in getattr(plan, name).items():
            counts[what] = counts.get(what, 0) + count
    return {what: count for what, count in counts.items() if count}


@heavy
@given(machines(), record_lists())
def test_every_record_has_exactly_one_outcome_and_what_is_refused_is_kept(
    whole: Machine, records: list[StoredRecord]
) -> None:
    partition, (plan,) = run(whole, [records])
    assert plan.forwarded == 0  # one partition: everything is at home
    assert plan.outcomes.total() == len(records)
    refused = [noted for noted in plan.unmatched if noted.outcome.value != "duplicate"]
    kept = [each for each in written_by(plan) if each.topic == UNMATCHED]
    assert [dict(each.headers)["flowmachine-origin"].decode() for each in kept] == [noted.origin for noted in refused]
    assert len({noted.origin for noted in plan.unmatched}) == len(plan.unmatched)
    expected_next = {(each.topic, each.partition): each.offset + 1 for each in records}
    assert plan.next_offsets == expected_next
    assert len(partition.sagas) <= len(records)


@heavy
@given(st.data(), machines(), record_lists())
def test_dropped_transactions_and_restarts_leave_no_trace(
    data: st.DataObject, whole: Machine, records: list[StoredRecord]
) -> None:
    steady, steady_plans = run(whole, [records])
    partition, plans = new_partition(whole, retention_finished_ms=FOR_EVER_MS), []
    log: list[OutputRecord] = []
    for batch in data.draw(splits(records)):
        fate = data.draw(st.sampled_from(["committed", "dropped first", "restart before", "restart after"]))
        if fate == "dropped first":
            partition.plan(batch[: len(batch) // 2], [], 0)
        if fate == "restart before":
            partition = restarted(whole, log)
        plan = plan_and_confirm(partition, batch)
        plans.append(plan)
        log += [each for each in written_by(plan) if each.topic == SAGAS]
        if fate == "restart after":
            partition = restarted(whole, log)
    assert partition.sagas._records == steady.sagas._records
    assert written(plans) == written(steady_plans)


@heavy
@given(st.data(), machines(), record_lists())
def test_planning_ahead_changes_nothing(data: st.DataObject, whole: Machine, records: list[StoredRecord]) -> None:
    """A batch that is planned while the one before is being committed writes what it would have written after it."""
    retention_ms = data.draw(st.sampled_from([FOR_EVER_MS, -FOR_EVER_MS]))  # none ever leaves, or every finished one
    now_ms = 0
    batches = data.draw(splits(records))
    steady, ahead = (new_partition(whole, retention_finished_ms=retention_ms) for _ in range(2))
    steady_plans: list[BatchPlan] = []
    for batch in batches:
        steady_plans.append(steady.plan(batch, [], now_ms))
        steady.confirm(steady_plans[-1])
    plans: list[BatchPlan] = []
    for number, batch in enumerate(batches):
        plans.append(ahead.plan(batch, [], now_ms, after=plans[-1] if plans else None))
        if number:
            ahead.confirm(plans[number - 1])
    if plans:
        ahead.confirm(plans[-1])
    if retention_ms == FOR_EVER_MS:
        assert ahead.sagas._records == steady.sagas._records
        assert written(plans) == written(steady_plans)
        assert +ahead.sagas.by_state == +steady.sagas.by_state
    assert +ahead.sagas.by_state == recount(ahead)


def restarted(whole: Machine, log: Iterable[OutputRecord]) -> Partition:
    partition = new_partition(whole, retention_finished_ms=FOR_EVER_MS)
    partition.sagas = PartitionSagas()
    for each in log:
        partition.sagas.restore(each.key or b"", each.value)
    return partition


@heavy
@given(st.data(), machines(), record_lists(), record_lists())
def test_batching_is_irrelevant_where_held_events_wait(
    data: st.DataObject, whole: Machine, before: list[StoredRecord], after: list[StoredRecord]
) -> None:
    """A machine with fewer states holds events; whatever the pace of resuming, new ones do not overtake them."""
    fewer = without_state(whole, data.draw(st.sampled_from(sorted(set(whole.states) - {whole.initial_state}))))
    held = run(whole, [before])[0]
    plans = [plan_and_confirm(moved_to(fewer, held), after)]
    log = plans[0].changed
    ends = []
    for batches in (data.draw(splits(after)), [[each] for each in after]):
        partition = moved_to(whole, held)
        for key, value in log.items():
            partition.sagas.restore(key, value)
        outcome: list[OutputRecord] = []
        for batch in batches:
            kicked = [resumed(saga_id=key.decode()) for key in partition.sagas if data.draw(st.booleans())]
            outcome += written_by(plan_and_confirm(partition, batch, kicked))
        while keys := [key for key in partition.sagas.needing_work() if partition.is_resumable(key)]:
            outcome += written_by(plan_and_confirm(partition, [], [resumed(saga_id=key.decode()) for key in keys]))
        ends.append((partition, outcome))
    (one, one_written), (other, other_written) = ends
    assert one.sagas._records == other.sagas._records
    for key in one.sagas:
        assert seen_by(key, one_written) == seen_by(key, other_written)


def moved_to(whole: Machine, partition: Partition) -> Partition:
    moved = new_partition(whole, retention_finished_ms=FOR_EVER_MS)
    for key in partition.sagas:
        moved.sagas.restore(key, partition.sagas.get(key))
    return moved


def seen_by(key: bytes, records: Iterable[OutputRecord]) -> list[tuple[str, bytes | None]]:
    """A saga's commands and unmatched inputs, in the order of each topic."""
    found = [(each.topic, each.value) for each in records if each.key == key and each.topic != SAGAS]
    return sorted(found, key=lambda each: each[0])
