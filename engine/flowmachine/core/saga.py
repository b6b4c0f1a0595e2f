"""A saga: the value that moves through a machine, and its history.

The field names of these structs, in camel case, are the record of the `sagas` topic (`docs/saga-record.md`): what the
core holds is what the log keeps, without a second mapping on the hot path.

Metadata and the past are kept as the JSON text that was written when they changed (`msgspec.Raw`): a transition appends
to the history without decoding it, and encodes metadata once for the commands and the record.
"""

from typing import Any, final

import msgspec
from msgspec import Raw

from flowmachine.core.definition import BusinessId, Frame, Payload, PayloadText, SagaId, StateId
from flowmachine.core.trace import TraceContext

RECORD_VERSION = 1
EARLIER_REVISIONS_MAX = 10
"""A trace for people and for the audit, which need the latest ones."""


IMPORTED = "imported"
ADOPTED = "adopted"
"""Stand among the earlier revisions of a saga that began elsewhere: came with an import, or out of a store."""


@final
class OutboxEntry(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A command over HTTP that no 2xx has answered yet. `id` is unique in its saga and stable across crashes."""

    id: str
    channel: str
    label: str
    payload: PayloadText
    is_side_command: bool = False
    failure: str | None = None
    """Set once all attempts are used up: the entry then waits for a person."""
    trace: TraceContext | None = None
    """The saga's own."""


@final
class History(msgspec.Struct, frozen=True, gc=False):
    """What happened, oldest first: two JSON arrays in Flow Manager's form."""

    states: msgspec.Raw
    events: msgspec.Raw


@final
class HeldEvent(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """An event that came while the saga could not move: its machine does not know its state, or a hook has failed."""

    label: str
    payload: Payload
    received_at_ms: int


@final
class Hold(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Why a saga does not move until a corrected machine runs, or an engine starts anew.

    `command`: label of the current state's command, which could not be made and has not been sent. None: it is the
    oldest held event whose payload could not be merged.
    """

    reason: str
    revision: str
    """The machine under which that was tried last."""
    command: str | None = None


EMPTY_HISTORY = History(states=msgspec.Raw(b"[]"), events=msgspec.Raw(b"[]"))


@final
class Saga(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One saga after its latest change. `seq` grows by one with every change; times are ISO 8601, UTC, milliseconds."""

    v: int
    seq: int
    revision: str
    current_state: StateId
    latest_event: str
    business_state_id: BusinessId
    business_state_description: str
    associated_entity_id: str
    created_at: str
    updated_at: str
    metadata: PayloadText
    history: History
    is_final: bool = False
    outbox: tuple[OutboxEntry, ...] = ()
    held: tuple[HeldEvent, ...] = ()
    hold: Hold | None = None
    earlier_revisions: tuple[str, ...] = ()
    """Other revisions that have moved the saga before, oldest first, at most `EARLIER_REVISIONS_MAX`."""
    timers: tuple[dict[str, Any], ...] = ()
    """Kept as they are: the place of state timeouts in the record, which this version does not set."""
    trace: TraceContext | None = None
    """What its creation came with, if that was part of a trace; all others are derived (`core/trace.py`)."""


def is_awaited(saga: Saga) -> bool:
    """Whether there is no saga behind this yet: it holds events until a store has answered (no state is called "")."""
    return saga.current_state == ""


@final
class SagaView(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What hooks and payload expressions see of a saga: Flow Manager's stored fields, and its times."""

    saga_id: SagaId
    current_state: str
    latest_event: str
    associated_entity_id: str
    is_final: bool
    business_state_id: BusinessId
    business_state_description: str
    metadata: PayloadText
    history: History
    created_at: str
    updated_at: str


def view_saga(saga_id: SagaId, saga: Saga) -> SagaView:
    """The saga as hooks see it."""
    return SagaView(
        saga_id=saga_id,
        current_state=saga.current_state,
        latest_event=saga.latest_event,
        associated_entity_id=saga.associated_entity_id,
        is_final=saga.is_final,
        business_state_id=saga.business_state_id,
        business_state_description=saga.business_state_description,
        metadata=saga.metadata,
        history=saga.history,
        created_at=saga.created_at,
        updated_at=saga.updated_at,
    )


@final
class _EventApplied(msgspec.Struct, gc=False):
    event: str


_BUT_BRACKET = slice(-1)
"""An array without its closing bracket, which a new entry brings along."""


def append_history(history: History, event: Frame, state: Frame, at: str) -> History:
    """The history with one event and the state that it led to added at the end."""
    time = at.encode()
    states, events = bytes(history.states)[_BUT_BRACKET], bytes(history.events)[_BUT_BRACKET]
    return History(
        Raw(b"".join((states, b"," if len(states) > 1 else b"", state[0], time, state[1]))),
        Raw(b"".join((events, b"," if len(events) > 1 else b"", event[0], time, event[1]))),
    )


def add_revision(saga: Saga, revision: str) -> tuple[str, ...]:
    """The earlier revisions of a saga, and one more."""
    return (*saga.earlier_revisions, revision)[-EARLIER_REVISIONS_MAX:]


def drop_oldest_held(saga: Saga) -> Saga:
    """The saga, changed once more, without its oldest held event."""
    return msgspec.structs.replace(saga, seq=saga.seq + 1, held=saga.held[1:])


def history_labels(history: History) -> list[str]:
    """The labels of all events in a history, oldest first."""
    return [applied.event for applied in msgspec.json.decode(history.events, type=list[_EventApplied])]


def history_length(history: History) -> int:
    """How many states it has."""
    return len(msgspec.json.decode(history.states, type=list[msgspec.Raw]))
