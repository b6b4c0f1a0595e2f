"""A batch ends where it gets too large, and what is left is planned by the next one."""

import msgspec

from flowmachine.core.actions import Outcome
from flowmachine.core.saga import HeldEvent
from tests.support.builders import (
    EVENTS,
    NOW_MS,
    create_record,
    event_record,
    new_partition,
    numbered,
    plan_and_confirm,
    put_saga,
    resumed,
    saga_after,
    small_machine,
)

LIMIT = 10_000
PADDING = {"text": "x" * 1_900}
"""What takes it up writes a command and a saga of somewhat more than 2,000 bytes each: the third one passes 10,000."""


def test_records_behind_a_full_batch_are_left_and_their_offsets_are_not_committed() -> None:
    partition = new_partition(small_machine(), batch_bytes_max=LIMIT)
    records = numbered([create_record(PADDING, key=f"saga-{number}") for number in range(8)])
    sizes: list[int] = []
    while records:
        plan = plan_and_confirm(partition, records)
        place = records[0].topic, records[0].partition
        assert plan.next_offsets == {place: records[plan.records_taken - 1].offset + 1}
        assert plan.outcomes == {Outcome.CREATED: plan.records_taken}
        sizes.append(plan.records_taken)
        records = records[plan.records_taken :]
    assert sizes == [3, 3, 2]
    assert len(partition.sagas) == 8


def test_one_record_is_always_taken() -> None:
    plan = new_partition(small_machine(), batch_bytes_max=LIMIT).plan(
        [create_record({"text": "x" * 3 * LIMIT})], [], NOW_MS
    )
    assert (plan.records_taken, plan.outcomes) == (1, {Outcome.CREATED: 1})


def test_refused_and_forwarded_records_count_too() -> None:
    partition = new_partition(small_machine(), batch_bytes_max=LIMIT)
    records = numbered([event_record("step", PADDING, key=f"nobody-{number}") for number in range(8)])
    plan = partition.plan(records, [], NOW_MS)
    assert plan.records_taken == 6
    assert plan.next_offsets == {(EVENTS, records[0].partition): records[5].offset + 1}


def test_inputs_from_inside_the_engine_go_first_and_are_left_too() -> None:
    whole = small_machine()
    partition = new_partition(whole, batch_bytes_max=LIMIT)
    keys = [f"saga-{number}" for number in range(5)]
    for key in keys:
        held = (HeldEvent("step", PADDING, NOW_MS),)
        put_saga(partition, msgspec.structs.replace(saga_after(whole), held=held), saga_id=key)
    internal = [resumed(saga_id=key) for key in keys]
    first = partition.plan([create_record()], internal, NOW_MS)
    assert (first.internal_taken, first.records_taken, first.next_offsets) == (3, 0, {})
    partition.confirm(first)
    second = partition.plan([create_record()], internal[3:], NOW_MS)
    assert (second.internal_taken, second.records_taken) == (2, 1)
