"""Events that move a saga have a loop of their own: it must say what one record after the other says."""

from collections.abc import Iterable

import msgspec
import pytest

from flowmachine.core.definition import HookError, Machine, Payload, SagaId
from flowmachine.core.saga import Saga
from flowmachine.partition.batch import Batch
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.log import InputRecord, StoredRecord
from tests.support.builders import (
    INTAKE,
    NOW_MS,
    command,
    create_record,
    event_record,
    machine,
    new_partition,
    numbered,
    rest_machine,
    small_machine,
    state,
    transition,
)

RECORD_BYTES_MAX = 2_000


def one_after_the_other(batch: Batch, records: Iterable[InputRecord]) -> int:
    """As `Batch.take_records`, by `take_record` alone."""
    count = 0
    for record in records if batch.size < batch.settings.batch_bytes_max else ():
        count += 1
        batch.next_offsets[record.topic, record.partition] = record.offset + 1
        batch.take_record(record)
        if batch.size >= batch.settings.batch_bytes_max:
            break
    return count


def refusing(saga_id: SagaId, saga: Saga) -> Payload:
    raise HookError("no payload")


def with_hook(*, is_side_command: bool) -> Machine:
    broken = msgspec.structs.replace(command("work"), build=refusing)
    sends, side_commands = (command("work"), [broken]) if is_side_command else (broken, [])
    return machine(state("looping", transition("step", "looping"), sends=sends, side_commands=side_commands))


def then_over_http() -> Machine:
    return machine(
        state("waiting", transition("step", "asked"), sends=command("work")),
        state("asked", sends=command("ask", "rest")),
    )


def padded(record: StoredRecord) -> StoredRecord:
    """The same message in too many bytes."""
    assert record.value
    return msgspec.structs.replace(record, value=record.value + b" " * RECORD_BYTES_MAX)


PADDED = {"padding": "x" * RECORD_BYTES_MAX}
LARGE = {"padding": "x" * (RECORD_BYTES_MAX - 500)}
HALF = {"padding": "x" * 300}
CASES = {
    "it moves": (small_machine(), [event_record("step", {"a": 1}), event_record("step", key="other")]),
    "it moves twice": (small_machine(), [event_record("step"), event_record("stop"), event_record("step")]),
    "it ends": (small_machine(), [event_record("stop")]),
    "over HTTP": (rest_machine(), [event_record("step"), event_record("stop", key="other")]),
    "then over HTTP": (then_over_http(), [event_record("step")]),
    "a side command fails": (with_hook(is_side_command=True), [event_record("step")]),
    "a command fails": (with_hook(is_side_command=False), [event_record("step"), event_record("step")]),
    "not listed": (small_machine(), [event_record("nonsense"), event_record("step")]),
    "unknown": (small_machine(), [event_record("step", key="nobody")]),
    "too large an event": (small_machine(), [event_record("step", PADDED), event_record("step")]),
    "too large an event of a small saga": (small_machine(), [padded(event_record("step"))]),
    "too large a saga": (small_machine(), [event_record("step", LARGE), event_record("step", {"b": "y" * 500})]),
    "no message": (small_machine(), [msgspec.structs.replace(event_record("step"), value=b"{"), event_record("step")]),
    "nothing": (small_machine(), [msgspec.structs.replace(event_record("step"), value=None)]),
    "no key": (small_machine(), [msgspec.structs.replace(event_record("step"), key=None)]),
    "by the intake": (small_machine(), [event_record("step", topic=INTAKE), create_record()]),
    "more than a batch": (small_machine(), [event_record("step", HALF, key=key) for key in ("order-1", "other")] * 3),
}


def plan(whole: Machine, records: list[InputRecord], on_its_way: str) -> BatchPlan:
    """For two sagas that are there; what `on_its_way` names is planned, and not committed yet."""
    partition = new_partition(whole, record_bytes_max=RECORD_BYTES_MAX, batch_bytes_max=RECORD_BYTES_MAX)
    before = partition.plan(numbered([create_record(), create_record(key="other")]), [], NOW_MS)
    assert before.records_taken == 2
    if on_its_way == "creation":
        return partition.plan(records, [], NOW_MS, after=before)
    partition.confirm(before)
    after = partition.plan([event_record("step", {"first": 1})], [], NOW_MS) if on_its_way == "event" else None
    return partition.plan(records, [], NOW_MS, after=after)


@pytest.mark.parametrize("on_its_way", ["nothing", "creation", "event"])
@pytest.mark.parametrize("case", CASES)
def test_the_loop_says_what_one_after_the_other_says(
    case: str, on_its_way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, events = CASES[case]
    records: list[InputRecord] = list(numbered(events))
    found = plan(whole, records, on_its_way)
    monkeypatch.setattr(Batch, "take_records", one_after_the_other)
    assert found == plan(whole, records, on_its_way)
