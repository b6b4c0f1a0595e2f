"""Guarantee G4: a bad input never stops a partition, has one outcome, and is kept where people can look at it."""

from typing import Any

import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.payload import decode_payload
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan, Unmatched
from flowmachine.wire.intake import REREAD_HEADERS
from flowmachine.wire.log import StoredRecord
from tests.support.builders import (
    EVENTS,
    INTAKE,
    NOW_MS,
    SAGA_ID,
    UNMATCHED,
    create_record,
    event_record,
    get_saga,
    new_partition,
    plan_and_confirm,
    record,
    refuse_unless,
    small_machine,
    written_by,
)

LIMIT = 200_000
WHERE: dict[str, Any] = {"partition": 3, "offset": 42}
ORIGIN = f"{EVENTS}/3/42"


def partition_with_everything() -> Partition:
    """`order-1` waits in a loop that wants `amount`; `ended` has finished."""
    partition = new_partition(small_machine(check=refuse_unless("amount")), record_bytes_max=LIMIT)
    plan_and_confirm(partition, [create_record(), create_record(key="ended"), event_record("stop", key="ended")])
    return partition


def kept_in(plan: BatchPlan) -> list[dict[str, bytes]]:
    return [dict(each.headers) for each in written_by(plan) if each.topic == UNMATCHED]


BAD: dict[str, tuple[StoredRecord, Outcome, str]] = {
    "no key": (event_record("step", key=None, **WHERE), Outcome.MALFORMED, "no key"),
    "empty key": (event_record("step", key=b"", **WHERE), Outcome.MALFORMED, "no key"),
    "key not UTF-8": (event_record("step", key=b"\xff\xfe", **WHERE), Outcome.MALFORMED, "not UTF-8"),
    "no value": (record(None, **WHERE), Outcome.MALFORMED, "empty"),
    "not JSON": (record(b"<xml/>", **WHERE), Outcome.MALFORMED, "not JSON"),
    "no message": (record(b'{"label":"step"}', **WHERE), Outcome.MALFORMED, "messageLabel"),
    "payload no object": (record(b'{"messageLabel":"step","messagePayload":[]}', **WHERE), Outcome.MALFORMED, "array"),
    "too deep": (record(b'{"messageLabel":' + b"[" * 1_000, **WHERE), Outcome.MALFORMED, "nested"),
    "unknown saga": (event_record("step", key="nobody", **WHERE), Outcome.UNKNOWN_SAGA, "'nobody'"),
    "unexpected": (event_record("again", **WHERE), Outcome.UNEXPECTED, "does not list event 'again'"),
    "finished": (event_record("late", key="ended", **WHERE), Outcome.FINISHED, "finished in state 'ended'"),
    "invalid payload": (event_record("step", {"x": 1}, **WHERE), Outcome.INVALID_PAYLOAD, "'amount' is required"),
    "too large": (event_record("step", {"x": "y" * LIMIT}, **WHERE), Outcome.TOO_LARGE, f"more than {LIMIT} bytes"),
    "too large key": (event_record("step", key=b"k" * LIMIT, **WHERE), Outcome.TOO_LARGE, f"more than {LIMIT} bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_one_outcome_and_is_kept_with_its_coordinates(name: str) -> None:
    bad, outcome, reason = BAD[name]
    partition = partition_with_everything()
    plan = partition.plan([bad], [], NOW_MS)
    assert plan.outcomes == {outcome: 1}
    assert (plan.changed, plan.forwarded) == ({}, 0)
    assert plan.next_offsets == {(EVENTS, 3): 43}
    (kept,) = written_by(plan)
    assert (kept.topic, kept.partition) == (UNMATCHED, 0)
    headers = dict(kept.headers)
    assert headers["flowmachine-outcome"] == outcome.value.encode()
    assert headers["flowmachine-origin"] == ORIGIN.encode()
    assert reason.encode() in headers["flowmachine-reason"]
    (noted,) = plan.unmatched
    assert (noted.outcome, noted.origin) == (outcome, ORIGIN)
    assert reason in noted.reason
    if outcome is not Outcome.TOO_LARGE:
        assert (kept.key, kept.value) == (bad.key, bad.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_does_not_stop_those_before_and_after_it(name: str) -> None:
    bad, outcome, _ = BAD[name]
    partition = partition_with_everything()
    good = [event_record("step", {"amount": number}, offset=number) for number in range(2)]
    plan = plan_and_confirm(partition, [good[0], bad, good[1]])
    assert plan.outcomes == {Outcome.ADVANCED: 2, outcome: 1}
    assert (get_saga(partition).seq, decode_payload(get_saga(partition).metadata)) == (3, {"amount": 1})


def test_label_and_saga_id_of_a_refused_event_are_noted() -> None:
    (noted,) = partition_with_everything().plan([event_record("again", **WHERE)], [], NOW_MS).unmatched
    assert noted == Unmatched(
        Outcome.UNEXPECTED, "state 'looping' does not list event 'again'", ORIGIN, SAGA_ID, "again"
    )


@pytest.mark.parametrize(
    "value", [b"", b"{}", b'{"associatedEntityId":"e"}', b'{"associatedEntityId":"e","metadata":{},"x":1}', b"junk"]
)
def test_creation_that_cannot_be_read_is_malformed(value: bytes) -> None:
    plan = new_partition().plan(
        [create_record(offset=5), record(value, key="other", topic=INTAKE, offset=6)], [], NOW_MS
    )
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.MALFORMED: 1}
    assert [kept["flowmachine-origin"] for kept in kept_in(plan)] == [f"{INTAKE}/0/6".encode()]


@pytest.mark.parametrize(
    ("again", "reason"),
    [(create_record(offset=1), "exists already"), (event_record("__created__", offset=1), "was applied before")],
    ids=["creation", "event"],
)
def test_duplicate_is_noted_but_not_kept(again: StoredRecord, reason: str) -> None:
    partition = new_partition()
    plan_and_confirm(partition, [create_record()])
    plan = partition.plan([again], [], NOW_MS)
    assert plan.outcomes == {Outcome.DUPLICATE: 1}
    assert written_by(plan) == []
    assert reason in plan.unmatched[0].reason


def test_what_is_noted_for_the_log_stays_short_however_long_the_input() -> None:
    long = "x" * 100_000
    plan = partition_with_everything().plan(
        [event_record(long), event_record("step", key=long), record(b"{}", key=long + "\n")], [], NOW_MS
    )
    assert len(plan.unmatched) == 3
    for noted in plan.unmatched:
        assert len(noted.reason) <= 1_000
        assert len(noted.saga_id) <= 200
        assert len(noted.label) <= 200


def test_saga_id_that_is_not_utf8_can_be_noted() -> None:
    (noted,) = new_partition().plan([record(b"{}", key=b"\xffid")], [], NOW_MS).unmatched
    assert noted.saga_id == "\ufffdid"


def test_record_that_is_there_to_be_committed_changes_nothing_else() -> None:
    partition = partition_with_everything()
    plan = plan_and_confirm(partition, [record(b"{}", key=None, topic=INTAKE, offset=9, headers=REREAD_HEADERS)])
    assert (written_by(plan), plan.unmatched, plan.next_offsets) == ([], [], {(INTAKE, 0): 10})
    assert not plan.is_empty
    foreign = plan_and_confirm(partition, [record(b"{}", key=None, headers=REREAD_HEADERS)])
    assert [each.outcome for each in foreign.unmatched] == [Outcome.MALFORMED]
