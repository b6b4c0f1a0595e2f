"""What a batch did, as traces show it: one span for every input of a saga, in the trace of that saga.

No clock, no random number, no library: ids follow from the saga (`core/trace.py`), so a batch that is planned again
makes the same spans. They are handed out with the plan, and exported once it has been committed.

    POST /saga, traceparent? ─► created ─► command, traceparent ─► service ─► event, traceparent? ─► advanced ─► ...

A span stands below the context that its record brought, if that is of the saga's trace, else below the saga's first.
"""

from collections.abc import Callable
from typing import final

import msgspec

from flowmachine.core.actions import CHANGING, Decision, Outcome
from flowmachine.core.inputs import CommandDelivered, CommandFailed, EventReceived, Input
from flowmachine.core.saga import Saga
from flowmachine.core.trace import FIRST_SEQ, TraceContext, derive_span_id, derive_trace_id, make_context
from flowmachine.wire.log import InputRecord
from flowmachine.wire.trace import decode_trace_context
from flowmachine.wire.unmatched import format_origin

Sampler = Callable[[str], bool]
"""Whether a trace that begins here, of this id, is to be kept; always the same answer for the same id."""

TEXT_LENGTH_MAX = 200


@final
class Place(msgspec.Struct, frozen=True, gc=False):
    """A step's place in its saga's trace."""

    context: TraceContext
    """Its own: what its commands carry."""
    parent_id: str
    """The span above it; empty: it is the first of its trace."""
    link: TraceContext | None
    """What its record brought, if that is of another trace."""


@final
class Step(msgspec.Struct, frozen=True, gc=False):
    """One input and what it did to its saga. `topic` is empty for an input from inside the engine."""

    place: Place
    saga_id: str
    seq: int
    outcome: Outcome
    event: str
    state_before: str
    state: str
    commands: tuple[str, ...]
    reason: str
    is_failure: bool
    at_ms: int
    topic: str = ""
    partition: int = 0
    offset: int = 0


def find_place(
    is_sampled: Sampler, received: Input, record: InputRecord | None, before: Saga | None, decision: Decision
) -> Place:
    """Where an input stands in the trace of its saga, which is `before` what the decision makes of it."""
    saga_id = received.saga_id
    saga = decision.saga if decision.saga is not None else before
    kept = saga.trace if saga is not None else None
    trace_id = derive_trace_id(saga_id) if kept is None else kept.trace_id
    brought = decode_trace_context(record.headers) if record is not None and record.headers else None
    above = brought if brought is not None and brought.trace_id == trace_id else None

    first_id = derive_span_id(saga_id, FIRST_SEQ)
    if decision.outcome in CHANGING and decision.saga is not None:
        span_id = derive_span_id(saga_id, decision.saga.seq)
    else:
        span_id = derive_span_id(saga_id if record is None else format_origin(record), received.received_at_ms)
    state = above or kept
    own = make_context(
        trace_id,
        span_id,
        is_sampled=is_sampled(trace_id) if kept is None else kept.is_sampled,
        tracestate="" if state is None else state.tracestate,
    )
    if above is not None:
        return Place(own, above.span_id, None)
    return Place(own, "" if span_id == first_id else first_id, brought)


def make_steps(
    place: Place, received: Input, record: InputRecord | None, before: Saga | None, decision: Decision
) -> tuple[Step, ...]:
    """The step, if it is to be shown: what became of a command over HTTP has a span of its own, at its sender."""
    if not place.context.is_sampled or isinstance(received, CommandDelivered | CommandFailed):
        return ()
    saga = decision.saga
    is_refused = decision.outcome not in CHANGING and decision.outcome is not Outcome.DUPLICATE
    moved = decision.outcome in (Outcome.CREATED, Outcome.ADVANCED) and saga is not None
    label = received.label if isinstance(received, EventReceived) else ""
    step = Step(
        place=place,
        saga_id=received.saga_id[:TEXT_LENGTH_MAX],
        seq=saga.seq if saga is not None else 0,
        outcome=decision.outcome,
        event=saga.latest_event if moved and saga is not None else label[:TEXT_LENGTH_MAX],
        state_before=before.current_state if before is not None else "",
        state=saga.current_state if saga is not None else "",
        commands=tuple(command.label for command in decision.commands),
        reason=decision.reason[:TEXT_LENGTH_MAX],
        is_failure=is_refused or bool(decision.failures),
        at_ms=received.received_at_ms,
        topic=record.topic if record is not None else "",
        partition=record.partition if record is not None else 0,
        offset=record.offset if record is not None else 0,
    )
    return (step,)
