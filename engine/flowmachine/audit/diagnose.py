"""What is wrong with a saga's inputs, when no order of them makes its history.

The history is followed entry by entry, each with the input that explains it best:

1. an unused input of its partition's order, of that event and that time; 2. one that an input behind it has overtaken;
3. one that has not been committed; 4. one that was refused; 5. one that was applied before; 6. any unused one of that
event. What is left over must have changed nothing at its place between its neighbours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flowmachine.audit.evidence import Evidence, Status, Step
from flowmachine.audit.model import Finding, Kind, SagaRecords, TopicPartition, found, place_of
from flowmachine.audit.replay import Applied, Entry, decide_at, is_refused, makes
from flowmachine.core.actions import Decision, Outcome
from flowmachine.core.definition import Machine
from flowmachine.core.saga import Saga

_CHANGED = (Outcome.CREATED, Outcome.ADVANCED)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, and the replay of the history as it stands; None where an input of it is missing."""

    findings: tuple[Finding, ...]
    applied: Applied | None


@dataclass(slots=True)
class _Walk:
    """The state of following a history."""

    machine: Machine
    saga: SagaRecords
    evidence: Evidence
    sagas: list[Saga | None] = field(default_factory=lambda: [None])
    used: dict[int, int] = field(default_factory=dict[int, int])
    """Identity of an applied step -> the index of its entry."""
    frontier: dict[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    findings: list[Finding] = field(default_factory=list[Finding])
    applied: Applied | None = None

    def note(self, kind: Kind, step: Step | None, message: str) -> None:
        self.findings.append(found(kind, self.saga, None if step is None else step.record, message))

    def decisions(self, steps: Iterable[Step], entry: Entry, *, is_exact: bool) -> list[tuple[Step, Decision]]:
        """The steps that make the entry, with how; `is_exact`: at its time too."""
        making: list[tuple[Step, Decision]] = []
        for step in steps:
            if step.received is None:
                continue
            decision = decide_at(self.machine, self.sagas[-1], step.received, entry.timestamp)
            is_event = decision.saga is not None and decision.saga.latest_event == entry.event
            if makes(decision, entry) if is_exact else (decision.outcome in _CHANGED and is_event):
                making.append((step, decision))
        return making

    def explain(self, entry: Entry) -> tuple[Step, Decision] | None:
        """The input behind an entry, as the module's docstring says."""
        unused = [step for step in self.evidence.steps if id(step) not in self.used]
        silent = [step for step in unused if step.status is not Status.REFUSED]
        in_order, overtaken = self._split(silent)
        refused = [step for step in unused if step.status is Status.REFUSED]
        before = [step for step in self.evidence.steps if id(step) in self.used]
        pending = [step for step in self.evidence.pending if id(step) not in self.used]
        pending_before = [step for step in self.evidence.pending if id(step) in self.used]
        choices: list[tuple[Kind | None, Sequence[Step], bool, str]] = [
            (None, in_order, True, ""),
            (Kind.INPUT_OUT_OF_ORDER, overtaken, True, "it was applied after an input that stands behind it"),
            (Kind.INPUT_NOT_COMMITTED, pending, True, "it was applied, but the committed offset is not behind it"),
            (Kind.INPUT_REFUSED_WRONGLY, refused, True, "it was applied, and is among the unmatched inputs too"),
            (Kind.INPUT_APPLIED_TWICE, [*before, *pending_before], True, "it was applied before"),
            (None, in_order, False, ""),
            (Kind.INPUT_OUT_OF_ORDER, overtaken, False, "it was applied after an input that stands behind it"),
        ]
        for kind, steps, is_exact, message in choices:
            making = self.decisions(steps, entry, is_exact=is_exact)
            if making:
                step, decision = making[0]
                if kind is not None:
                    self.note(kind, step, f"{message} (event {entry.event!r} of {entry.timestamp})")
                return step, decision
        return None

    def _split(self, steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
        in_order: list[Step] = []
        overtaken: list[Step] = []
        for step in steps:
            is_overtaken = step.record.offset < self.frontier.get(place_of(step.record), -1)
            (overtaken if is_overtaken else in_order).append(step)
        return in_order, overtaken

    def take(self, index: int, step: Step, decision: Decision) -> None:
        place = place_of(step.record)
        self.used.setdefault(id(step), index)
        self.frontier[place] = max(step.record.offset, self.frontier.get(place, -1))
        self.sagas.append(decision.saga)
        self.applied = Applied(self.applied, step, decision)


def diagnose(machine: Machine, saga: SagaRecords, evidence: Evidence, history: Sequence[Entry]) -> Diagnosis:
    """Every finding about the inputs; at least one for inputs and a history that do not fit."""
    walk = _Walk(machine, saga, evidence)
    for index, entry in enumerate(history):
        explained = walk.explain(entry)
        if explained is None:
            message = f"entry {index + 1} of the history, {entry.event!r} of {entry.timestamp}, has no input"
            walk.note(Kind.INPUT_UNKNOWN, None, message)
            # What is not among the steps so far may have been applied after this point: only the rest can be judged.
            _judge_creations(walk)
            return Diagnosis(tuple(walk.findings), None)
        walk.take(index, *explained)
    for step in evidence.steps:
        if id(step) not in walk.used:
            _judge_leftover(walk, step)
    if not walk.findings:
        walk.note(
            Kind.INPUT_OUT_OF_ORDER, None, "no order of the inputs makes the history and leaves the rest as it is"
        )
    return Diagnosis(tuple(walk.findings), walk.applied)


def _judge_creations(walk: _Walk) -> None:
    if walk.sagas[-1] is None:
        for step in walk.evidence.steps:
            if step.is_creation and step.status is Status.SILENT:
                walk.note(Kind.INPUT_LOST, step, "the creation has had no effect")


def _judge_leftover(walk: _Walk, step: Step) -> None:
    """An input that no entry of the history came from: there must be a moment at which that is right."""
    place, offset = place_of(step.record), step.record.offset
    first, last = 0, len(walk.sagas) - 1
    for other in walk.evidence.steps:
        index = walk.used.get(id(other))
        if index is None or place_of(other.record) != place:
            continue
        if other.record.offset < offset:
            first = max(first, index + 1)
        else:
            last = min(last, index)
    first, last = min(first, last), max(first, last)
    if any(is_refused(walk.machine, saga, step) for saga in walk.sagas[first : last + 1]):
        return
    if step.status is Status.REFUSED:
        message = (
            f"it was refused ({step.outcome}), and at no moment between its neighbours is that what the machine says"
        )
        walk.note(Kind.INPUT_REFUSED_WRONGLY, step, message)
    elif step.received is None:
        walk.note(Kind.INPUT_LOST, step, "it is no message, and is not among the unmatched inputs")
    else:
        name = "the creation" if step.is_creation else f"event {getattr(step.received, 'label', '')!r}"
        message = f"{name} has had no effect, is not among the unmatched inputs, and is no duplicate"
        walk.note(Kind.INPUT_LOST, step, message)
