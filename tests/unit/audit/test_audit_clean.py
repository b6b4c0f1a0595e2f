"""What a real run leaves is clean, whatever came in; and what can no longer be known is not verifiable, never wrong."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowmachine.core.definition import Machine, SagaId, StateId
from flowmachine.core.inputs import CommandDelivered, CommandFailed
from flowmachine.core.partitioners import crc32, home
from flowmachine.wire.log import StoredRecord
from flowmachine.wire.message import decode_message, encode_message
from tests.support.builders import (
    COMMANDS,
    EVENTS,
    INTAKE,
    NOW_MS,
    SAGA_ID,
    SAGAS,
    UNMATCHED,
    command,
    get_saga,
    machine,
    refuse_unless,
    rest_machine,
    resumed,
    small_machine,
    state,
    transition,
    without_state,
)
from tests.support.strategies import heavy, machines, record_lists
from tests.unit.audit.recording import (
    RETENTION_MS,
    Recording,
    at,
    hook_that_fails,
    side_hook_recording,
    with_json,
    with_value,
)

STEPS = ("paymentExecuted", "orderPrepared", "orderDelivered")


def finished(recording: Recording, key: bytes = b"order-1") -> Recording:
    recording.create({"total": 3}, key=key)
    for label in STEPS:
        recording.event(label, {label: True}, key=key)
    recording.run()
    return recording


def assert_verified(recording: Recording) -> None:
    assert recording.findings() == []
    assert recording.reasons() == []


def test_orders_that_ran_as_they_should() -> None:
    recording = Recording(homes=2, event_partitions=3)
    for number in range(20):
        finished(recording, f"order-{number}".encode())
    assert_verified(recording)
    assert sum(verdict.is_saga for verdict in recording.verdicts()) == 20


def test_all_that_may_come_in() -> None:
    recording = Recording(small_machine(check=refuse_unless("n")), homes=2, event_partitions=3)
    for name in ("a", "b", "c"):
        key = name.encode()
        recording.event("step", {"n": 0}, key=key)  # before the saga is there
        recording.create(key=key)
        recording.create({"again": True}, key=key)
        recording.event("step", {"n": 1}, key=key, partition=crc32(key, 3))
        recording.event("step", {"n": 2}, key=key, at_ms=NOW_MS - 5_000)
        recording.event("step", {"no": 2}, key=key)
        recording.event("step", {"n": 3}, key=key, at_ms=-1)
        recording.event("unheard", key=key, at_ms=2**62)
        recording.event("stop", {"n": 4}, key=key, at_ms=2**62)
        recording.event("stop", {"n": 4}, key=key)
        recording.event("step", {"n": 9}, key=key, partition=crc32(key, 3))
        for value in (None, b"", b"{", b"[1]", encode_message("step", {"blob": "x" * 1_000_001})):
            recording.put(StoredRecord(EVENTS, 0, 0, NOW_MS, key, value))
        recording.put(StoredRecord(EVENTS, 1, 0, NOW_MS, None, b"{}"))
        recording.put(StoredRecord(EVENTS, 2, 0, NOW_MS, b"\xff\xfe", b"{}"))
        recording.run(records_max=2)
    recording.event("again", {"n": 5}, key=b"a")  # not read yet
    assert_verified(recording)


def test_input_that_would_make_a_record_too_large() -> None:
    recording = Recording(small_machine())
    recording.create()
    for number in range(3):
        recording.event("step", {f"blob{number}": "x" * 600_000})
    recording.event("stop")
    recording.run()
    assert len(recording.topics[UNMATCHED, 0]) == 2
    assert_verified(recording)


def test_the_same_event_by_two_ways_in_the_same_millisecond() -> None:
    recording = Recording(small_machine(), event_partitions=2)
    recording.create()
    recording.run()
    for number in range(6):
        recording.event("step", {"n": number, "last": number % 2}, partition=number % 2)
    recording.run(records_max=1)
    assert_verified(recording)


def test_one_event_may_be_a_duplicate_first_and_apply_when_it_comes_again() -> None:
    """All in one millisecond: which of the seven came in the second round is not recorded."""
    looped = machine(state("one", transition("go", "two")), state("two", transition("back", "one")))
    recording = Recording(looped, event_partitions=2)
    recording.create()
    for _ in range(6):
        recording.event("go", partition=0)
    recording.event("back", partition=1)
    recording.run()
    recording.event("go", partition=0)
    recording.run()
    assert get_saga(recording.partitions[0]).seq == 4
    assert_verified(recording)


def test_commands_over_http_are_settled_by_inputs_that_no_topic_holds() -> None:
    recording = Recording(rest_machine())
    recording.create()
    recording.run()
    saga_id = SagaId(SAGA_ID)
    recording.run(
        internal=[CommandDelivered(saga_id, "1", NOW_MS + 50), CommandFailed(saga_id, "1.2", "x", NOW_MS + 60)]
    )
    recording.event("step", {"a": 1}, at_ms=NOW_MS + 7)
    recording.run(internal=[CommandFailed(saga_id, "1", "gone", NOW_MS + 70)])
    recording.event("stop", {"b": 1}, at_ms=NOW_MS + 100)
    recording.run()
    assert_verified(recording)


def test_a_tombstone_forgets_a_saga_and_its_late_events_are_unknown() -> None:
    recording = finished(Recording())
    recording.partitions[0].plan([], [], NOW_MS)
    recording.run()
    plan = recording.partitions[0].plan([], [], NOW_MS + 2 * RETENTION_MS)
    recording.commit(recording.partitions[0], plan)
    recording.event("orderDelivered", at_ms=NOW_MS + 3 * RETENTION_MS)
    recording.run()
    recording.overrides = {"now_ms": NOW_MS + 4 * RETENTION_MS}
    assert recording.topics[SAGAS, 0][-1].value is None
    assert_verified(recording)
    recording.topics[SAGAS, 0] = recording.topics[SAGAS, 0][-1:]
    assert recording.findings() == []
    assert recording.reasons() == ["forgotten"]
    recording.topics[SAGAS, 0] = []
    assert recording.findings() == []
    assert recording.reasons() == ["forgotten"]


def test_an_unfinished_saga_cannot_have_been_forgotten() -> None:
    recording = Recording()
    recording.create()
    recording.run()
    recording.topics[SAGAS, 0] = []
    recording.overrides = {"now_ms": NOW_MS + 4 * RETENTION_MS}
    assert recording.found() == [("record-missing", f"{INTAKE}/0/0")]


def test_a_saga_that_was_forgotten_and_made_again() -> None:
    recording = finished(Recording())
    recording.commit(recording.partitions[0], recording.partitions[0].plan([], [], NOW_MS + 2 * RETENTION_MS))
    recording.create(at_ms=NOW_MS + 3 * RETENTION_MS)
    recording.run(now_ms=NOW_MS + 3 * RETENTION_MS)
    recording.overrides = {"now_ms": NOW_MS + 4 * RETENTION_MS}
    recording.topics[SAGAS, 0] = recording.topics[SAGAS, 0][-1:]
    assert recording.findings() == []
    assert recording.reasons() == ["forgotten"]


@pytest.mark.parametrize("topic", [EVENTS, INTAKE])
def test_inputs_that_retention_has_removed_are_not_missed(topic: str) -> None:
    recording = finished(Recording())
    later = b"order-2"
    recording.create({"total": 1}, key=later, at_ms=NOW_MS + 5_000)
    recording.event("paymentExecuted", key=later, at_ms=NOW_MS + 5_001)
    recording.run()
    recording.topics[topic, 0] = [r for r in recording.topics[topic, 0] if r.key == later]
    recording.overrides = {"retained_from_ms": {(topic, 0): NOW_MS + 4_000}}
    assert recording.findings() == []
    assert recording.reasons() == ["retention"]
    lost = recording.event("orderPrepared", key=later, at_ms=NOW_MS + 5_002)
    recording.skip()
    assert recording.found() == [("input-lost", f"{EVENTS}/0/{lost.offset}")], "the later saga's inputs are all there"


def test_commands_that_retention_has_removed_are_not_missed_but_others_are_judged() -> None:
    recording = finished(Recording())
    first = recording.remove(COMMANDS, 0)
    recording.overrides = {"retained_from_ms": {(COMMANDS, first.partition): NOW_MS}}
    assert_verified(recording)
    doubled = recording.put(recording.topics[COMMANDS, first.partition][-1])
    assert [kind for kind, _ in recording.found()] == ["command-doubled"]
    assert doubled


def test_kept_inputs_that_retention_has_removed_are_not_missed() -> None:
    recording = Recording()
    recording.create()
    recording.event("orderDelivered")
    recording.run()
    recording.topics[UNMATCHED, 0] = []
    recording.overrides = {"retained_from_ms": {(UNMATCHED, 0): NOW_MS}}
    assert_verified(recording)


def test_sagas_of_another_revision_are_not_judged() -> None:
    recording = finished(Recording())
    recording.change(SAGAS, -1, with_json(revision="r0", currentState="gone"))
    assert recording.findings() == []
    assert recording.reasons() == ["revision"]


def test_sagas_that_another_revision_has_moved_too_are_not_judged_although_its_records_are_gone() -> None:
    recording = Recording()
    recording.create()
    recording.event("paymentExecuted")
    recording.run()
    changed = {
        name: msgspec.structs.replace(each, command=None) for name, each in recording.machine.states.items()
    }  # no state sends a command any more: those that were sent are not what this revision says
    recording.deploy(msgspec.structs.replace(recording.machine, states=changed, revision="r2"))
    recording.event("orderPrepared")
    recording.run()
    recording.topics[SAGAS, 0] = recording.topics[SAGAS, 0][-1:]  # compaction leaves the latest record only
    assert recording.findings() == []
    assert recording.reasons() == ["revision"]


def test_a_saga_that_another_revision_has_held_for_a_while_is_not_judged() -> None:
    """It was rolled back, and has moved nothing; all that it left is a `seq` that is too high."""
    recording = Recording()
    recording.create()
    recording.event("paymentExecuted")
    recording.run()
    whole = recording.machine
    recording.deploy(without_state(whole, "preparing"))
    recording.event("orderPrepared")
    recording.run()
    recording.deploy(whole)
    recording.event("orderDelivered")
    recording.run(internal=[resumed()])
    assert get_saga(recording.partitions[0]).current_state == "delivered"
    assert recording.findings() == []
    assert recording.reasons() == ["revision"]


@pytest.mark.parametrize(("channel", "reasons"), [("log", ["hook"]), ("rest", [])])
def test_a_side_command_whose_hook_fails_is_left_out(channel: str, reasons: list[str]) -> None:
    recording = side_hook_recording(channel)
    assert recording.findings() == []
    assert recording.reasons() == reasons


def test_a_command_whose_hook_fails_at_first_comes_after_the_side_commands() -> None:
    """And one over HTTP has been left out, so that the saga has changed as often as its inputs say."""
    work = msgspec.structs.replace(command("work"), build=hook_that_fails(times=1))
    notify = msgspec.structs.replace(command("notify", "rest"), build=hook_that_fails(times=1))
    recording = Recording(machine(state("one", sends=work, side_commands=[notify, command("tell")])))
    recording.create()
    recording.run()
    recording.run(internal=[resumed()])
    sent = [record for (topic, _), records in recording.topics.items() if topic == COMMANDS for record in records]
    assert [decode_message(record.value).message_label for record in sent] == ["tell", "work"]
    assert recording.findings() == []
    assert recording.reasons() == ["hook"]


def test_a_saga_that_another_revision_may_have_finished_can_have_been_forgotten() -> None:
    """That it was at work shows in a command that this one does not send."""
    recording = Recording()
    recording.create()
    recording.event("paymentExecuted")
    recording.run()
    recording.topics[SAGAS, 0] = []
    recording.change(COMMANDS, -1, with_value(encode_message("wrapOrder", {})))
    recording.overrides = {"now_ms": NOW_MS + 4 * RETENTION_MS, "has_other_revisions": True}
    assert recording.findings() == []
    assert recording.reasons() == ["forgotten"]
    recording.overrides["has_other_revisions"] = False
    assert [kind for kind, _ in recording.found()] == ["record-missing"]


def test_bad_inputs_among_the_events_of_a_forgotten_saga_hide_nothing() -> None:
    """A saga created before 1970, as a bad clock has it, is forgotten with the next batch."""
    recording = Recording()
    recording.create(at_ms=-5)
    for label in STEPS:
        recording.event(label, at_ms=-5)
    recording.run()
    recording.run(internal=[CommandDelivered(SAGA_ID, "1", NOW_MS)])  # finished sagas leave with a batch
    assert recording.topics[SAGAS, 0][-1].value is None
    recording.event("orderPrepared", at_ms=-5)
    recording.put(StoredRecord(EVENTS, 0, 0, -5, b"order-1", b"not JSON"))
    recording.event("orderDelivered", at_ms=-5)
    recording.put(StoredRecord(EVENTS, 0, 0, -5, b"order-1", b""))
    recording.run()
    outcomes = [dict(record.headers)["flowmachine-outcome"] for record in recording.topics[UNMATCHED, 0]]
    assert outcomes == [b"unknown_saga", b"malformed", b"unknown_saga", b"malformed"]
    assert_verified(recording)


def test_a_saga_that_moves_during_the_audit_is_not_judged() -> None:
    recording = finished(Recording())
    recording.remove(COMMANDS, 0)
    before = {**recording.committed, (EVENTS, 0): 2}
    recording.overrides = {"committed": before}
    assert recording.findings() == []
    assert recording.reasons() == ["moving"]


def test_events_of_a_shared_topic_are_none_of_ours() -> None:
    recording = finished(Recording())
    recording.event("paymentExecuted", key=b"somebody-else")
    recording.skip()
    assert [kind for kind, _ in recording.found()] == ["input-lost"]
    recording.overrides = {"may_share_inputs": True}
    assert recording.findings() == []
    assert recording.reasons() == ["foreign"]


@pytest.mark.parametrize("mark", ["imported", "adopted"])
def test_saga_that_began_elsewhere_is_not_judged_for_how_it_began(mark: str) -> None:
    recording = finished(Recording())
    recording.remove(INTAKE, 0)
    assert {kind for kind, _ in recording.found()} == {"input-unknown"}
    recording.change(SAGAS, -1, with_json(earlierRevisions=[mark]))
    assert recording.findings() == []
    assert recording.reasons() == ["elsewhere"]


def test_commands_of_other_sagas_in_a_shared_topic_are_none_of_ours() -> None:
    recording = finished(Recording())
    recording.put(StoredRecord(COMMANDS, 0, 0, NOW_MS, b"other-machine-1", encode_message("paint", {})))
    assert_verified(recording)


@heavy
@given(data=st.data(), whole=machines(), records=record_lists(max_size=16), records_max=st.integers(1, 5))
def test_every_real_run_is_clean(data: Any, whole: Machine, records: list[StoredRecord], records_max: int) -> None:
    recording = Recording(whole, homes=data.draw(st.sampled_from([1, 4])), event_partitions=4)
    for record in records:
        partition = record.partition
        if record.topic == INTAKE:  # its producers, the engines, know a saga's home
            partition = home(record.key or b"", recording.homes)
        recording.put(msgspec.structs.replace(record, partition=partition, offset=0))
        if data.draw(st.booleans()):
            recording.run(records_max=records_max)
    recording.run(records_max=records_max)
    assert recording.findings() == []


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["step", "stop", "again"]), min_size=1, max_size=12), st.integers(0, 11))
def test_any_event_that_is_skipped_is_found(labels: list[str], index: int) -> None:
    """One event of a real run is committed unread: wherever its saga listed it, that is an input lost."""
    recording = Recording(small_machine())
    recording.create()
    recording.run()
    lost: StoredRecord | None = None
    for number, label in enumerate(labels):
        current = get_saga(recording.partitions[0]).current_state
        record = recording.event(label, {"n": number}, at_ms=NOW_MS + number)
        if number == index and label in recording.machine.states[StateId(current)].transitions:
            lost = record
            recording.skip()
        recording.run()
    assert recording.found() == ([] if lost is None else [("input-lost", at(lost))])
