"""What the log does not take is never planned: an input with too large a result is refused, and no other."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import CommandFailed
from flowmachine.core.payload import decode_payload
from flowmachine.core.saga import HeldEvent
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.message import encode_message
from tests.support.builders import (
    EVENTS,
    KEY,
    NOW_MS,
    SAGA_ID,
    UNMATCHED,
    commands_of,
    create_record,
    event_record,
    get_saga,
    new_partition,
    numbered,
    plan_and_confirm,
    put_saga,
    rest_machine,
    resumed,
    saga_after,
    small_machine,
    written_by,
)

SMALL_LIMIT = 5_000


def padded(field: str, bytes_: int = 1_900) -> dict[str, object]:
    return {field: "x" * bytes_}


def assert_all_fit(plan: BatchPlan, limit: int) -> None:
    assert max(len(each.key or b"") + len(each.value or b"") for each in written_by(plan)) <= limit


def test_event_that_would_make_too_large_a_saga_is_refused_and_the_others_of_the_batch_are_applied() -> None:
    partition = new_partition(small_machine(), record_bytes_max=SMALL_LIMIT)
    records = numbered(
        [
            create_record(),
            create_record(key="other"),
            event_record("step", padded("a")),
            event_record("step", padded("b")),
            event_record("step", padded("c"), partition=3),
            event_record("step", {"small": 1}),
            event_record("step", padded("a"), key="other"),
        ]
    )
    plan = plan_and_confirm(partition, records)
    assert plan.outcomes == {Outcome.CREATED: 2, Outcome.ADVANCED: 4, Outcome.TOO_LARGE: 1}
    assert [dict(each.headers)["flowmachine-outcome"] for each in written_by(plan) if each.topic == UNMATCHED] == [
        b"too_large"
    ]
    assert "would make a record of" in plan.unmatched[0].reason
    assert plan.unmatched[0].origin == f"{EVENTS}/3/0"
    assert decode_payload(get_saga(partition).metadata).keys() == {"a", "b", "small"}
    assert get_saga(partition, "other").seq == 2
    assert len(plan.next_offsets) == 3
    assert_all_fit(plan, SMALL_LIMIT)


def test_large_creation_is_refused_when_its_saga_would_not_fit() -> None:
    plan = new_partition(record_bytes_max=SMALL_LIMIT).plan([create_record(padded("a", 4_900))], [], NOW_MS)
    assert plan.outcomes == {Outcome.TOO_LARGE: 1}
    assert plan.changed == {}


@pytest.mark.parametrize("bytes_", range(1_500, 3_000, 50))
@pytest.mark.parametrize("key", ["k", "k" * 1_000])
def test_no_record_of_a_plan_is_larger_than_the_log_takes(bytes_: int, key: str) -> None:
    """Also where only the key makes the difference."""
    partition = new_partition(small_machine(), record_bytes_max=SMALL_LIMIT)
    for number, each in enumerate(
        [create_record(key=key), *(event_record("step", padded(f, bytes_), key=key) for f in "abc")]
    ):
        plan = plan_and_confirm(partition, numbered([each]), now_ms=NOW_MS + number)
        assert_all_fit(plan, SMALL_LIMIT)
        assert plan.outcomes.total() == 1


def test_command_that_would_be_too_large_keeps_the_saga_where_it_is() -> None:
    """A command holds all metadata; here it is the larger record, because the saga's id is short."""
    whole = small_machine()
    partition = new_partition(whole, record_bytes_max=SMALL_LIMIT)
    plan = plan_and_confirm(partition, [create_record(), event_record("step", padded("a", 4_700))])
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.TOO_LARGE: 1}
    assert commands_of(plan) == [("commands", "work")]


def test_too_large_failure_of_a_command_leaves_its_entry() -> None:
    """The next start tries again; nothing is lost."""
    partition = new_partition(rest_machine(), record_bytes_max=SMALL_LIMIT)
    plan_and_confirm(partition, [create_record(padded("a", 1_000))])
    before = partition.outbox(KEY)
    plan = plan_and_confirm(partition, [], [CommandFailed(SagaId(SAGA_ID), "1", "r" * 5_000, NOW_MS)])
    assert plan.outcomes == {Outcome.TOO_LARGE: 1}
    assert partition.outbox(KEY) == before


def test_held_event_whose_result_does_not_fit_leaves_the_saga_and_is_kept() -> None:
    whole = rest_machine()  # the outbox repeats the metadata twice
    saga = saga_after(whole)
    partition = new_partition(whole, record_bytes_max=SMALL_LIMIT)
    held = (HeldEvent("step", padded("a"), NOW_MS), HeldEvent("step", {"b": 1}, NOW_MS))
    put_saga(partition, msgspec.structs.replace(saga, held=held))
    plan = plan_and_confirm(partition, [], [resumed()])
    assert plan.outcomes == {Outcome.TOO_LARGE: 1}
    assert [each.value for each in written_by(plan) if each.topic == UNMATCHED] == [encode_message("step", padded("a"))]
    assert [each.label for each in get_saga(partition).held] == ["step"]
    assert plan.resumable == [SAGA_ID]
    assert plan_and_confirm(partition, [], [resumed()]).outcomes == {Outcome.ADVANCED: 1}
    assert decode_payload(get_saga(partition).metadata) == {"b": 1}
