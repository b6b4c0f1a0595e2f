"""Whether a saga that has no record can have finished, by what the log still holds of it.

Its inputs are run through the machine in every order that keeps that of each partition and agrees with the evidence of
each input. If an order makes a saga that has finished long enough ago, it can have been forgotten.

If orders agree with the evidence, but in none the saga has finished, the record is missing. Another revision of the
machine excuses that only if it shows: in a command that this one does not send. (One that does the same, and calls a
state final that is none for this one, cannot be seen.) If no order agrees, this revision is not all that was at work,
or some of what it did is gone: then what was there at all must do, in any order.
"""

from collections.abc import Iterator, Sequence

from flowmachine.audit.compare import judge_commands
from flowmachine.audit.evidence import Evidence, Status, Step
from flowmachine.audit.model import SagaRecords, Scope
from flowmachine.audit.replay import Applied, is_refused
from flowmachine.core.actions import Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine
from flowmachine.core.inputs import EventReceived
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.wire.record import encode_saga

CLOCKS_APART_MS_MAX = 60_000
"""How far an engine's clock may be ahead of this computer's, but no more than a tenth of the retention."""
ORDERS_MAX = 5_000
"""Steps of the search: one per input as a rule; only loops and events that come twice branch."""
_APPLIED = (Outcome.CREATED, Outcome.ADVANCED)
_OF_NO_SAGA = (Outcome.MALFORMED.value, Outcome.TOO_LARGE.value)
"""Refused whatever state the saga is in, or whether there is one."""

_Path = tuple[tuple[int, ...], Saga | None, Applied | None]
"""How far it has come in each stream, the saga then, and the inputs that were applied."""


def may_be_forgotten(scope: Scope, saga: SagaRecords, evidence: Evidence) -> bool:
    """Whether the saga can have finished, and so long ago that engines forget it. It has a creation."""
    created = [s.record.timestamp for s in evidence.steps if s.is_creation and s.status is not Status.REFUSED]
    apart_ms = min(CLOCKS_APART_MS_MAX, scope.retention_finished_ms // 10)
    forgotten_until_ms = scope.now_ms - scope.retention_finished_ms + apart_ms
    if min(created) > forgotten_until_ms:
        return False
    if not all(scope.is_retained(place, min(created)) for place in scope.retained_from_ms):
        return True
    is_one_life = max(created) - min(created) <= scope.retention_finished_ms
    ends = None if scope.machine.has_hooks or not is_one_life else _find_ends(scope, evidence.streams)
    if ends:
        finished = [end for end in ends if _has_finished(end, forgotten_until_ms)]
        is_other_visible = scope.has_other_revisions and not any(_makes_commands(scope, saga, end) for end in ends)
        return bool(finished) or is_other_visible
    return scope.has_other_revisions or _is_end_in_reach(scope, evidence.steps)


def _has_finished(end: Applied, until_ms: int) -> bool:
    saga = end.decision.saga
    return saga is not None and saga.is_final and parse_timestamp(saga.updated_at) <= until_ms


def _makes_commands(scope: Scope, saga: SagaRecords, end: Applied) -> bool:
    """Whether the saga's commands are what this revision makes of its inputs."""
    chain = end.chain()
    first = chain[0].decision.saga
    return first is not None and not judge_commands(scope, saga, chain, first.created_at)


def _find_ends(scope: Scope, streams: Sequence[Sequence[Step]]) -> list[Applied] | None:
    """What orders that agree with the evidence end in; None: there are too many to try."""
    machine = scope.machine
    living = [before_oblivion(stream) for stream in streams]
    stack: list[_Path] = [(tuple(0 for _ in living), None, None)]
    seen: set[tuple[tuple[int, ...], bytes]] = set()
    ends: list[Applied] = []
    for _ in range(ORDERS_MAX):
        if not stack:
            return ends
        path = stack.pop()
        positions, _, applied = path
        if applied is not None and all(at == len(stream) for at, stream in zip(positions, living, strict=True)):
            ends.append(applied)
        for following in _following(machine, living, path):
            mark = following[0], b"" if following[1] is None else encode_saga(following[1])
            if mark not in seen:
                seen.add(mark)
                stack.append(following)
    return None


def _following(machine: Machine, streams: Sequence[Sequence[Step]], path: _Path) -> Iterator[_Path]:
    """The paths after one more input, of whichever stream."""
    positions, saga, applied = path
    for number, stream in enumerate(streams):
        if positions[number] == len(stream):
            continue
        step = stream[positions[number]]
        moved = (*positions[:number], positions[number] + 1, *positions[number + 1 :])
        if is_refused(machine, saga, step):
            yield moved, saga, applied
        elif step.received is not None and step.status is not Status.REFUSED:
            decision = decide(machine, saga, step.received)
            if decision.outcome in _APPLIED:
                yield moved, decision.saga, Applied(applied, step, decision)


def _is_end_in_reach(scope: Scope, steps: Sequence[Step]) -> bool:
    """Whether a path of the machine leads to a final state with events of these labels, in any order."""
    labels = {step.received.label for step in steps if isinstance(step.received, EventReceived)}
    reached = {scope.machine.initial_state}
    waiting = [scope.machine.initial_state]
    while waiting:
        state = scope.machine.states[waiting.pop()]
        if state.is_final:
            return True
        following = {each.target_state for event, each in state.transitions.items() if event in labels} - reached
        reached |= following
        waiting += following
    return False


def before_oblivion(stream: Sequence[Step]) -> list[Step]:
    """Without the events refused as unknown at its end; what no saga could have taken may stand among them."""
    end = len(stream)
    while end and (stream[end - 1].outcome == Outcome.UNKNOWN_SAGA.value or stream[end - 1].outcome in _OF_NO_SAGA):
        end -= 1
    return [*stream[:end], *(step for step in stream[end:] if step.outcome != Outcome.UNKNOWN_SAGA.value)]
