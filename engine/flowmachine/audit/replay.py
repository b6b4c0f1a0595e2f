"""Looks for an order of a saga's inputs that makes its recorded history, deciding each input by the core.

The order inside one topic partition is known, that between partitions is not. The history says which events were
applied, one after the other; so a path through the streams is followed like this:

1. Consume every input that changes nothing now, as the evidence says it did, and that no later entry of the history can
   come from. Never wrong to do early: it leaves the saga as it is, so whatever could follow later can follow now.
2. Of the streams' next inputs those may be applied now that make the next entry of the history; and one that changes
   nothing now, but may make a later entry, may be consumed or wait. Where there is a choice (the same event more than
   once in the same millisecond) each is tried.

A command over HTTP is settled by an input that no topic holds. It moves `seq`, the outbox and `updatedAt`: of sagas
that have had an outbox these have bounds only, and an event's time in the history may be later than its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from flowmachine.audit.evidence import Status, Step
from flowmachine.audit.model import Finding
from flowmachine.core.actions import CHANGING, Decision, Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine
from flowmachine.core.inputs import Create, EventReceived
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import format_timestamp
from flowmachine.wire.record import encode_saga

PATHS_MAX = 20_000
"""Steps of the search. One per applied event as a rule; only repeated events in one millisecond branch."""

_ALWAYS_POSSIBLE = (Outcome.TOO_LARGE.value, Outcome.HELD_TOO_MANY.value)
"""Outcomes that depend on more than the saga and the machine."""


class Entry(msgspec.Struct, frozen=True):
    """An event of a history."""

    event: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A chain of applied inputs, the latest first."""

    before: "Applied | None"
    step: Step
    decision: Decision

    def chain(self) -> list["Applied"]:
        """All of them, oldest first."""
        links: list[Applied] = []
        link: Applied | None = self
        while link is not None:
            links.append(link)
            link = link.before
        return links[::-1]


@dataclass(frozen=True, slots=True)
class Replay:
    """The end of the search: `applied` None: no order fits; `findings` of the best order."""

    applied: Applied | None
    findings: tuple[Finding, ...]
    is_exhausted: bool
    """Every order was looked at."""


@dataclass(frozen=True, slots=True)
class _Path:
    positions: tuple[int, ...]
    count: int
    saga: Saga | None
    applied: Applied | None
    commands: int = 0
    """A hash of the commands so far."""


def history_entries(saga: Saga) -> list[Entry]:
    """The events of a saga's history. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(saga.history.events, type=list[Entry])


def decide_at(machine: Machine, saga: Saga | None, received: Create | EventReceived, at: str = "") -> Decision:
    """What the core says; `at` is when the history has it, for sagas whose outbox may have moved their time on."""
    if saga is not None and at > saga.updated_at and saga.outbox:
        saga = msgspec.structs.replace(saga, updated_at=max(at, format_timestamp(received.received_at_ms)))
    return decide(machine, saga, received)


def is_refused(machine: Machine, saga: Saga | None, step: Step) -> bool:
    """Whether the saga can have left that input without effect, as the evidence says."""
    if step.received is None:
        return step.status is Status.UNKNOWN or step.outcome in (Outcome.MALFORMED.value, Outcome.TOO_LARGE.value)
    if step.outcome in _ALWAYS_POSSIBLE:
        return True
    outcome = decide(machine, saga, step.received).outcome
    if step.status is Status.REFUSED:
        return outcome.value == step.outcome
    return outcome is Outcome.DUPLICATE or (step.status is Status.UNKNOWN and outcome not in CHANGING)


def replay(
    machine: Machine,
    streams: Sequence[Sequence[Step]],
    history: Sequence[Entry],
    compare: Callable[[Applied], tuple[Finding, ...]],
) -> Replay:
    """The first order that makes the record and the commands, or the one that `compare` has the least against.

    Both count: two events of one label in one millisecond may make the same record, and other commands on the way.
    """
    search = _Search(machine, streams, history)
    stack = [_Path(tuple(0 for _ in streams), 0, None, None)]
    best: Replay | None = None
    seen: set[tuple[tuple[int, ...], bytes, int]] = set()
    for _ in range(PATHS_MAX + len(history)):
        if not stack:
            break
        path = search.settle(stack.pop())
        if search.is_end(path) and path.applied is not None:
            findings = compare(path.applied)
            if best is None or len(findings) < len(best.findings):
                best = Replay(path.applied, findings, is_exhausted=True)
            if not findings:
                return best
            continue
        following = search.following(path)
        if len(following) > 1 or seen:
            marks = [_mark(each) for each in following]
            following = [each for each, mark in zip(following, marks, strict=True) if mark not in seen]
            seen.update(marks)
        stack += reversed(following)
    if stack:
        return Replay(best.applied if best else None, best.findings if best else (), is_exhausted=False)
    return best or Replay(None, (), is_exhausted=True)


def _mark(path: _Path) -> tuple[tuple[int, ...], bytes, int]:
    """What paths have in common that go on alike, and that have made the same commands."""
    return path.positions, encode_saga(path.saga) if path.saga else b"", path.commands


def _hash(before: int, decision: Decision) -> int:
    sent = [(command.channel, command.label, bytes(decision.payload_of(command))) for command in decision.commands]
    return hash((before, *sent)) if sent else before


class _Search:
    def __init__(self, machine: Machine, streams: Sequence[Sequence[Step]], history: Sequence[Entry]) -> None:
        self.machine = machine
        self.streams = streams
        self.history = history
        commands = [c for state in machine.states.values() for c in (state.command, *state.side_commands) if c]
        self.has_outbox = any(command.is_outbox for command in commands)

    def settle(self, path: _Path) -> _Path:
        """Consume what changes nothing and cannot be needed later."""
        positions = list(path.positions)
        for number, stream in enumerate(self.streams):
            while positions[number] < len(stream):
                step = stream[positions[number]]
                if self.may_make_later(step, path.count) or not is_refused(self.machine, path.saga, step):
                    break
                positions[number] += 1
        return _Path(tuple(positions), path.count, path.saga, path.applied, path.commands)

    def may_make_later(self, step: Step, count: int) -> bool:
        """Whether an entry of the history from `count` on can come from this input."""
        if step.received is None or step.status is Status.REFUSED:
            return False
        label = self.machine.creation_event if isinstance(step.received, Create) else step.received.label
        own = format_timestamp(step.received.received_at_ms)
        return any(
            entry.event == label and (entry.timestamp == own or self._may_be_late(index, own))
            for index, entry in enumerate(self.history[count:], start=count)
        )

    def _may_be_late(self, index: int, own: str) -> bool:
        """Whether the history can have an input of that time at this entry, with the time of something before it."""
        timestamp = self.history[index].timestamp
        if own > timestamp:
            return False
        return self.has_outbox or (index > 0 and self.history[index - 1].timestamp == timestamp)

    def is_end(self, path: _Path) -> bool:
        """Whether all is consumed and the history is made."""
        lengths = tuple(len(stream) for stream in self.streams)
        return path.count == len(self.history) and path.positions == lengths

    def following(self, path: _Path) -> list[_Path]:
        """The paths after one more applied input."""
        if path.count == len(self.history):
            return []  # what is left could only have been consumed
        entry = self.history[path.count]
        paths: list[_Path] = []
        waiting: list[_Path] = []
        for number, stream in enumerate(self.streams):
            position = path.positions[number]
            if position == len(stream):
                continue
            step = stream[position]
            if step.received is None or step.status is Status.REFUSED:
                continue
            moved = (*path.positions[:number], position + 1, *path.positions[number + 1 :])
            if is_refused(self.machine, path.saga, step):
                waiting.append(_Path(moved, path.count, path.saga, path.applied, path.commands))
                continue
            decision = decide_at(self.machine, path.saga, step.received, entry.timestamp)
            if not makes(decision, entry):
                continue
            applied = Applied(path.applied, step, decision)
            paths.append(_Path(moved, path.count + 1, decision.saga, applied, _hash(path.commands, decision)))
        return paths + waiting


def makes(decision: Decision, entry: Entry) -> bool:
    """Whether a decision makes that entry of a history."""
    saga = decision.saga
    if saga is None or decision.outcome not in (Outcome.CREATED, Outcome.ADVANCED):
        return False
    return saga.latest_event == entry.event and saga.updated_at == entry.timestamp
