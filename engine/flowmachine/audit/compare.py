"""A saga's record and its commands against the replay.

Some things leave no trace but an absence, a number or a place. A side command whose hook failed is left out. A saga
that was held, for a hook or while another revision of the machine was at work, has changed more often than its inputs
say; and its state's command, once its hook works, comes after the side commands.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import msgspec

from flowmachine.audit.model import Finding, Kind, Reason, SagaRecords, Scope, found, place_of
from flowmachine.audit.replay import Applied
from flowmachine.core.definition import Machine
from flowmachine.core.saga import OutboxEntry, Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.wire.log import InputRecord
from flowmachine.wire.message import COMMAND_ID_HEADER, MalformedError, decode_message, encode_command

_COMPARED = (
    "revision",
    "current_state",
    "latest_event",
    "business_state_id",
    "business_state_description",
    "associated_entity_id",
    "created_at",
    "metadata",
    "is_final",
    "hold",
    "timers",
)


class _Expected(NamedTuple):
    """A command that the machine sends."""

    label: str
    value: bytes
    is_hooked: bool
    """It is left out where its hook fails."""
    step: int
    """Which of the applied inputs makes it."""
    may_be_late: bool
    """It comes after the others of its step where its hook fails at first."""


def compare_record(machine: Machine, expected: Saga, actual: Saga) -> tuple[tuple[str, ...], int]:
    """The fields in which a saga's record is not what the replay has, as the record spells them; and a number.

    If it is `seq` alone, the number says how far that is ahead of all that the inputs can have made of it.
    """
    named = [name for name in _COMPARED if _plain(getattr(expected, name)) != _plain(getattr(actual, name))]
    named += [
        f"history.{name}"
        for name in ("states", "events")
        if bytes(getattr(expected.history, name)) != bytes(getattr(actual.history, name))
    ]
    if not expected.outbox:
        named += [name for name in ("seq", "updated_at", "outbox") if getattr(expected, name) != getattr(actual, name)]
    else:
        named += _outbox_differences(machine, expected, actual)
    ahead = max(0, actual.seq - expected.seq - 2 * len(expected.outbox)) if named == ["seq"] else 0
    return tuple(_spelled(name) for name in named), ahead


def _outbox_differences(machine: Machine, expected: Saga, actual: Saga) -> list[str]:
    """Entries that are gone were settled, which has moved `seq` and `updatedAt` on; or left out from the beginning."""
    hooked = _hooked_side_commands(machine)
    gone = len(expected.outbox) - len(actual.outbox)
    left_out = min(gone, sum(each.is_side_command and (each.channel, each.label) in hooked for each in expected.outbox))
    failed = sum(entry.failure is not None for entry in actual.outbox)
    named: list[str] = []
    if not expected.seq + gone - left_out + failed <= actual.seq <= expected.seq + 2 * len(expected.outbox):
        named.append("seq")
    if actual.updated_at < expected.updated_at:
        named.append("updated_at")
    left = iter([_content(entry) for entry in expected.outbox])
    if not all(_content(entry) in left for entry in actual.outbox):  # in this order, with gaps
        named.append("outbox")
    return named


def _hooked_side_commands(machine: Machine) -> Collection[tuple[str, str]]:
    """Channel and label of those that have a hook."""
    return {
        (each.channel, each.label)
        for state in machine.states.values()
        for each in state.side_commands
        if each.build is not None
    }


def _has_hooked_command(machine: Machine, saga: Saga | None) -> bool:
    """Whether the command of the saga's state, not one beside it, has a hook and goes over the log."""
    state = machine.states.get(saga.current_state) if saga is not None else None
    own = state.command if state is not None else None
    return own is not None and own.build is not None and not own.is_outbox


def _content(entry: OutboxEntry) -> tuple[str, str, bytes, bool]:
    return entry.channel, entry.label, bytes(entry.payload), entry.is_side_command


def _plain(value: object) -> bytes:
    return msgspec.json.encode(value)


def _spelled(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def judge_commands(scope: Scope, saga: SagaRecords, applied: Sequence[Applied], created_at: str) -> list[Finding]:
    """Every command that is missing, doubled, out of order, or not what the machine says."""
    expected: dict[str, list[_Expected]] = {}
    hooked = _hooked_side_commands(scope.machine)
    for step, link in enumerate(applied):
        has_late = _has_hooked_command(scope.machine, link.decision.saga)
        for number, command in enumerate(link.decision.commands):
            value = encode_command(command.label, link.decision.payload_of(command))
            is_hooked = (command.channel, command.label) in hooked
            wanted = _Expected(command.label, value, is_hooked, step, may_be_late=has_late and number == 0)
            for topic in scope.command_topics.get(command.channel, ()):
                expected.setdefault(topic, []).append(wanted)
    sent: dict[str, list[InputRecord]] = {}
    for record in _without_repeats(saga.commands):
        sent.setdefault(record.topic, []).append(record)
    findings: list[Finding] = []
    for topic in sorted({*expected, *sent}):
        findings += _judge_topic(scope, saga, topic, expected.get(topic, []), sent.get(topic, []), created_at)
    return findings


def _without_repeats(commands: Sequence[InputRecord]) -> list[InputRecord]:
    """The commands as a receiver takes them: of those that are the same under the same id, only the first.

    Without transactions a command may be written again after a crash; with them none has an id.
    """
    seen: dict[tuple[str, bytes], bytes | None] = {}
    kept: list[InputRecord] = []
    for record in commands:
        command_id = next((value for name, value in record.headers if name == COMMAND_ID_HEADER), None)
        if command_id is not None:
            place = (record.topic, command_id)
            if place in seen and seen[place] == record.value:
                continue
            seen.setdefault(place, record.value)
        kept.append(record)
    return kept


def _judge_topic(
    scope: Scope,
    saga: SagaRecords,
    topic: str,
    expected: Sequence[_Expected],
    sent: Sequence[InputRecord],
    created_at: str,
) -> list[Finding]:
    values = [record.value or b"" for record in sent]
    wanted = [each.value for each in expected]
    if values == wanted:
        return []
    created_at_ms = parse_timestamp(created_at)
    is_whole = all(scope.is_retained(place, created_at_ms) for place in scope.retained_from_ms if place[0] == topic)
    surplus = _surplus(values, wanted)
    missing = _surplus(wanted, values)
    findings: list[Finding] = []
    for index in surplus:
        record = sent[index]
        twin = _twin(index, values[index], expected, missing)
        if twin is not None:
            missing.remove(twin)
            how = _how_different(expected[twin], record)
            findings.append(found(Kind.COMMAND_DIFFERS, saga, record, how))
        elif values[index] in wanted:
            message = f"command {_label(record)!r} was sent more often than the machine says"
            findings.append(found(Kind.COMMAND_DOUBLED, saga, record, message))
        else:
            message = f"the machine does not send command {_label(record)!r} here"
            findings.append(found(Kind.COMMAND_UNEXPECTED, saga, record, message))
    if is_whole:
        findings += [
            found(
                Kind.COMMAND_MISSING,
                saga,
                None,
                f"command {expected[index].label!r}, number {index + 1} of the saga, is not in topic {topic!r}",
                Reason.HOOK if expected[index].is_hooked else None,
            )
            for index in missing
        ]
    is_one_partition = len({place_of(record) for record in sent}) == 1
    if is_whole and is_one_partition and not findings:
        index = next(index for index, value in enumerate(values) if value != wanted[index])
        message = f"command {_label(sent[index])!r} stands before one that the machine sent earlier"
        doubt = Reason.HOOK if _is_late_only(values, expected) else None
        findings.append(found(Kind.COMMAND_OUT_OF_ORDER, saga, sent[index], message, doubt))
    return findings


def _is_late_only(values: Sequence[bytes], expected: Sequence[_Expected]) -> bool:
    """Whether the same commands are in their order but for those that may have come late."""
    begin = 0
    for _, group in groupby(expected, key=attrgetter("step")):
        first, *rest = group
        end = begin + 1 + len(rest)
        own, late = [first, *rest], [*rest, first]
        orders = [[each.value for each in order] for order in ((own, late) if first.may_be_late else (own,))]
        if list(values[begin:end]) not in orders:
            return False
        begin = end
    return True


def _surplus(values: Sequence[bytes], others: Sequence[bytes]) -> list[int]:
    """The indexes of the values that the others do not have as often; of equal ones the last."""
    left = Counter(others)
    indexes: list[int] = []
    for index, value in enumerate(values):
        if left[value]:
            left[value] -= 1
        else:
            indexes.append(index)
    return indexes


def _twin(index: int, value: bytes, expected: Sequence[_Expected], missing: Sequence[int]) -> int | None:
    """The missing command that a surplus one stands for: of its label, else in its place."""
    if any(value == other.value for other in expected):
        return None
    label = _label_of(value)
    by_label = next((other for other in missing if expected[other].label == label), None)
    return by_label if by_label is not None else (index if index in missing else None)


def _how_different(wanted: _Expected, record: InputRecord) -> str:
    if _label(record) != wanted.label:
        return f"it is {_label(record)!r}, the machine says {wanted.label!r}"
    return f"command {wanted.label!r} has another payload than the machine says ({len(wanted.value)} bytes expected)"


def _label(record: InputRecord) -> str:
    return _label_of(record.value or b"")


def _label_of(value: bytes) -> str:
    try:
        return decode_message(value).message_label
    except MalformedError:
        return ""
