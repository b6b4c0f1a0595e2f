"""Every kind of error, planted in what a real run has left, is found, with its coordinates."""

import msgspec
import pytest

from flowmachine.core.saga import Saga
from flowmachine.wire.message import COMMAND_ID_HEADER, encode_message
from flowmachine.wire.record import encode_saga
from tests.support.builders import (
    COMMANDS,
    EVENTS,
    INTAKE,
    KEY,
    NOW_MS,
    SAGAS,
    UNMATCHED,
    get_saga,
    key_at_home,
    small_machine,
)
from tests.unit.audit.recording import RETENTION_MS, Change, Recording, at, side_hook_recording, with_json, with_value

STEPS = ("paymentExecuted", "orderPrepared", "orderDelivered")


@pytest.fixture
def orders() -> Recording:
    """A finished order, with an unexpected event, a duplicate and a malformed record on its way."""
    recording = Recording()
    recording.create({"total": 3}, at_ms=NOW_MS)
    for number, label in enumerate(STEPS, start=1):
        recording.event(label, {label: number}, at_ms=NOW_MS + number)
        if number == 1:
            recording.event("orderDelivered", at_ms=NOW_MS + number)
            recording.event(label, {label: number}, at_ms=NOW_MS + number)
            recording.event("nobodyKnows", key=None)
    recording.run()
    assert recording.verdicts()
    assert recording.found() == []
    assert recording.reasons() == []
    return recording


def with_id(command_id: bytes) -> Change:
    return lambda record: msgspec.structs.replace(record, headers=((COMMAND_ID_HEADER, command_id),))


def test_a_repeated_command_with_its_id_counts_once(orders: Recording) -> None:
    first = orders.change(COMMANDS, 0, with_id(b"order-1:1.0"))
    repeat = msgspec.structs.replace(first, headers=((COMMAND_ID_HEADER, b"order-1:1.0"),))
    orders.put(repeat)
    assert orders.found() == []


@pytest.mark.parametrize(
    ("command_id", "value", "kind"),
    [(b"order-1:1.1", None, "command-doubled"), (b"order-1:1.0", encode_message("paint", {}), "command-unexpected")],
)
def test_a_command_that_repeats_under_another_id_or_with_another_content_is_found(
    orders: Recording, command_id: bytes, value: bytes | None, kind: str
) -> None:
    first = orders.change(COMMANDS, 0, with_id(b"order-1:1.0"))
    headers = ((COMMAND_ID_HEADER, command_id),)
    repeat = orders.put(msgspec.structs.replace(first, headers=headers, value=value or first.value))
    assert orders.found() == [(kind, at(repeat))]


@pytest.fixture
def loop() -> Recording:
    """A saga that may take `step` as often as it comes."""
    recording = Recording(small_machine())
    recording.create(at_ms=NOW_MS)
    recording.event("step", {"n": 1}, at_ms=NOW_MS + 1)
    recording.run()
    assert recording.found() == []
    return recording


def test_input_below_the_committed_offset_without_effect(orders: Recording) -> None:
    other = orders.create(key=b"order-2")
    orders.run()
    lost = orders.event("paymentExecuted", key=b"order-2", at_ms=NOW_MS + 5)
    orders.skip()
    assert orders.found() == [("input-lost", at(lost))]
    assert other.key == lost.key


def test_creation_without_effect(orders: Recording) -> None:
    lost = orders.create(key=b"order-2")
    orders.skip(INTAKE)
    assert orders.found() == [("input-lost", at(lost))]


def test_refused_input_that_nobody_kept(orders: Recording) -> None:
    kept = orders.remove(UNMATCHED, 0)
    origin = dict(kept.headers)["flowmachine-origin"].decode()
    assert orders.found() == [("input-lost", origin)]


def test_record_without_key_that_nobody_kept(orders: Recording) -> None:
    kept = orders.remove(UNMATCHED, 1)
    assert orders.found() == [("input-lost", dict(kept.headers)["flowmachine-origin"].decode())]


def test_event_that_was_applied_twice(loop: Recording) -> None:
    doubled = loop.topics[EVENTS, 0][0]
    loop.apply(doubled)
    assert loop.found() == [("input-applied-twice", at(doubled))]


def test_event_that_was_applied_twice_to_the_record_only(loop: Recording) -> None:
    loop.apply(loop.topics[EVENTS, 0][0], keeps_commands=False)
    kinds = [kind for kind, _ in loop.found()]
    assert kinds == ["input-applied-twice", "command-missing"]


def test_input_that_was_refused_twice(orders: Recording) -> None:
    kept = orders.topics[UNMATCHED, 0][0]
    orders.put(kept)
    assert orders.found() == [("input-applied-twice", dict(kept.headers)["flowmachine-origin"].decode())]


def test_events_that_were_applied_out_of_order(loop: Recording) -> None:
    first = loop.event("step", {"n": 2}, at_ms=NOW_MS + 2)
    second = loop.event("step", {"n": 3}, at_ms=NOW_MS + 2)
    loop.apply(second, first)
    loop.skip()
    assert [kind for kind, _ in loop.found()] != []
    assert {kind for kind, _ in loop.found()} <= {"input-out-of-order", "record-differs", "command-out-of-order"}


def test_events_of_different_labels_that_were_applied_out_of_order() -> None:
    recording = Recording(small_machine())
    recording.create(at_ms=NOW_MS)
    recording.run()
    again = recording.event("again", {"a": 1}, at_ms=NOW_MS + 1)
    stop = recording.event("stop", {"s": 1}, at_ms=NOW_MS + 2)
    recording.apply(stop, again)
    recording.skip()
    assert recording.found() == [("input-out-of-order", at(again))]


def test_event_that_was_applied_although_its_offset_is_not_committed(loop: Recording) -> None:
    early = loop.event("step", {"n": 2}, at_ms=NOW_MS + 2)
    loop.apply(early)
    assert loop.found() == [("input-not-committed", at(early))]


def test_event_that_was_applied_and_refused(loop: Recording) -> None:
    record = loop.topics[EVENTS, 0][0]
    headers = [("flowmachine-outcome", b"unexpected"), ("flowmachine-origin", at(record).encode())]
    loop.put(msgspec.structs.replace(record, topic=UNMATCHED, headers=headers))
    assert loop.found() == [("input-refused-wrongly", at(record))]


def test_history_without_an_input(loop: Recording) -> None:
    loop.remove(EVENTS, 0)
    ((kind, where),) = loop.found()
    assert (kind, where) == ("input-unknown", "")


def test_command_that_was_never_sent(orders: Recording) -> None:
    orders.remove(COMMANDS, 1)
    (finding,) = orders.findings()
    assert (finding.kind, finding.saga_id) == ("command-missing", "order-1")
    assert "'prepareOrder', number 2" in finding.message


def test_command_that_was_never_sent_beside_a_side_command_with_a_hook() -> None:
    """The side command may have been left out, the other may not."""
    recording = side_hook_recording("log")
    place = next(place for place in recording.topics if place[0] == COMMANDS)
    recording.topics[place] = []
    (finding,) = recording.findings()
    assert finding.kind == "command-missing"
    assert "'work'" in finding.message


def test_command_that_was_sent_twice(orders: Recording) -> None:
    doubled = orders.put(next(r for (topic, _), rs in orders.topics.items() if topic == COMMANDS for r in rs))
    assert orders.found() == [("command-doubled", at(doubled))]


@pytest.mark.parametrize(
    "value",
    [
        encode_message("prepareOrder", {"total": 4, "paymentExecuted": 1}),
        encode_message("prepareOther", {"total": 3, "paymentExecuted": 1}),
    ],
)
def test_command_that_is_not_what_the_machine_says(orders: Recording, value: bytes) -> None:
    changed = orders.change(COMMANDS, 1, with_value(value))
    assert orders.found() == [("command-differs", at(changed))]


def test_command_that_the_machine_does_not_send(orders: Recording) -> None:
    place = next(place for place in orders.topics if place[0] == COMMANDS)
    strange = orders.put(msgspec.structs.replace(orders.topics[place][0], value=encode_message("burnDown", {})))
    assert orders.found() == [("command-unexpected", at(strange))]


def test_commands_in_another_order(orders: Recording) -> None:
    place = next(place for place in orders.topics if place[0] == COMMANDS)
    first, second, *_ = orders.topics[place]
    orders.change(COMMANDS, 0, with_value(second.value or b""))
    orders.change(COMMANDS, 1, with_value(first.value or b""))
    assert orders.found() == [("command-out-of-order", at(first))]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", {"total": 4}),
        ("currentState", "failed"),
        ("seq", 3),
        ("seq", 8),
        ("associatedEntityId", "entity-2"),
        ("updatedAt", "2031-01-01T00:00:00.000Z"),
        ("isFinal", False),
        ("latestEvent", "x"),
        ("businessStateId", 77),
        ("createdAt", "2025-10-09T08:53:20.001Z"),
    ],
)
def test_record_with_another_field(orders: Recording, field: str, value: object) -> None:
    changed = orders.change(SAGAS, -1, with_json(**{field: value}))
    (finding,) = orders.findings()
    assert (finding.kind, finding.where) == ("record-differs", at(changed))
    assert field in finding.message


def test_record_with_another_history(orders: Recording) -> None:
    def rewrite(saga: Saga) -> bytes:
        states = msgspec.Raw(bytes(saga.history.states).replace(b'"delivering"', b'"flying"'))
        return encode_saga(msgspec.structs.replace(saga, history=msgspec.structs.replace(saga.history, states=states)))

    changed = orders.change(SAGAS, -1, with_value(rewrite(get_saga(orders.partitions[0]))))
    (finding,) = orders.findings()
    assert (finding.kind, finding.where) == ("record-differs", at(changed))
    assert "history.states" in finding.message


def test_record_that_went_back(orders: Recording) -> None:
    """The last change of a saga is gone: what it applied has had no effect."""
    last = orders.remove(SAGAS, -1)
    orders.put(msgspec.structs.replace(last, value=encode_saga(_one_step(orders))))
    kinds = {kind for kind, _ in orders.found()}
    assert "input-lost" in kinds
    assert "command-unexpected" in kinds


def _one_step(orders: Recording) -> Saga:
    other = Recording(orders.machine)
    other.create({"total": 3}, at_ms=NOW_MS)
    other.run()
    return get_saga(other.partitions[0])


def test_saga_whose_record_is_gone(orders: Recording) -> None:
    while orders.topics[SAGAS, 0]:
        orders.remove(SAGAS, 0)
    assert orders.found() == [("record-missing", at(orders.topics[INTAKE, 0][0]))]


@pytest.mark.parametrize("has_other_revisions", [False, True])
def test_saga_that_is_gone_and_cannot_have_finished_is_not_taken_for_forgotten(*, has_other_revisions: bool) -> None:
    """All events of a finished order are there, but what was refused shows how far it had come."""
    recording = Recording()
    recording.create({"total": 3})
    for label in ("orderDelivered", "orderPrepared", "paymentExecuted", "orderDelivered"):
        recording.event(label)
    recording.run()
    recording.topics[SAGAS, 0] = []
    recording.overrides = {"now_ms": NOW_MS + 4 * RETENTION_MS, "has_other_revisions": has_other_revisions}
    assert recording.found() == [("record-missing", f"{INTAKE}/0/0")]


def test_saga_that_is_gone_and_finished_a_moment_ago_is_not_taken_for_forgotten() -> None:
    late_ms = NOW_MS + 3 * RETENTION_MS
    recording = Recording()
    recording.create(at_ms=NOW_MS)
    for label in STEPS:
        recording.event(label, at_ms=late_ms)
    recording.run(now_ms=late_ms)
    recording.topics[SAGAS, 0] = []
    recording.overrides = {"now_ms": late_ms + RETENTION_MS // 2}
    assert recording.found() == [("record-missing", f"{INTAKE}/0/0")]
    recording.overrides = {"now_ms": late_ms + RETENTION_MS}
    assert recording.found() == []
    assert recording.reasons() == ["forgotten"]


@pytest.mark.parametrize("value", [b"{", b"null", b'{"v":1}', b'{"v":2}'])
def test_record_that_cannot_be_read(orders: Recording, value: bytes) -> None:
    changed = orders.change(SAGAS, -1, with_value(value))
    assert orders.found() == [("record-unreadable", at(changed))]


def test_event_in_a_foreign_partition_that_was_not_forwarded() -> None:
    recording, key = _forwarded()
    copy = recording.topics[INTAKE, 1].pop()
    recording.committed[INTAKE, 1] = copy.offset
    kinds = recording.found()
    assert ("input-lost", f"{EVENTS}/0/0") in kinds
    assert key


def test_event_that_was_forwarded_twice() -> None:
    recording, _ = _forwarded()
    recording.put(recording.topics[INTAKE, 1][-1])
    recording.run()
    assert recording.found() == [("input-applied-twice", f"{EVENTS}/0/0")]


def test_forwarded_event_that_was_changed_on_its_way() -> None:
    recording, key = _forwarded()
    copy = recording.topics[INTAKE, 1][-1]
    changed = msgspec.structs.replace(copy, value=encode_message("paymentExecuted", {"x": 1}))
    recording.topics[INTAKE, 1][-1] = changed
    kinds = [kind for kind, _ in recording.found()]
    assert kinds[0] == "forward-differs"
    assert key != KEY


def _forwarded() -> tuple[Recording, bytes]:
    recording = Recording(homes=2, event_partitions=2)
    key = key_at_home(1, home_partitions=2)
    recording.create(key=key)
    recording.run()
    recording.event("paymentExecuted", key=key, partition=0)
    recording.run()
    assert recording.found() == []
    return recording, key
