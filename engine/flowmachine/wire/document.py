"""A saga as Flow Manager stores it: nine fields, which its readers know (`docs/stores.md`).

    sagaId, latestEvent, history, currentState, associatedEntityId, isFinal, businessStateId, businessStateDescription,
    metadata

What a document need not have (Flow Manager itself reads only `currentState`, `metadata` and `history`) is made up for
by whoever has the machine. A document that we wrote where there is room for more has the rest of the saga in the field
`flowmachine`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, final

import msgspec

from flowmachine.core.definition import BusinessId, Payload, PayloadText, StateId
from flowmachine.core.payload import encode_payload
from flowmachine.core.saga import RECORD_VERSION, HeldEvent, History, OutboxEntry, Saga
from flowmachine.core.timestamps import format_timestamp

OURS: Final = "flowmachine"


class UnreadableDocumentError(ValueError):
    """A document that is not a saga; the text says why in one sentence."""


@final
class Ours(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What Flow Manager's fields have no room for."""

    seq: int
    revision: str
    created_at: str
    updated_at: str
    outbox: tuple[OutboxEntry, ...] = ()
    held: tuple[HeldEvent, ...] = ()
    timers: tuple[dict[str, Any], ...] = ()


@final
class Document(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is written: the nine fields."""

    saga_id: str
    latest_event: str
    history: History
    current_state: str
    associated_entity_id: str
    is_final: bool
    business_state_id: BusinessId
    business_state_description: str
    metadata: PayloadText


@final
class _Entry(msgspec.Struct, gc=False):
    timestamp: object = None


@final
class _Found(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What is read: three fields must be there, and any other may be missing or null."""

    current_state: StateId
    metadata: Payload | None
    history: History
    latest_event: str | None = None
    associated_entity_id: str | None = None
    is_final: bool | None = None
    business_state_id: BusinessId | None = None
    business_state_description: str | None = None
    flowmachine: Ours | None = None


_decode_found: Final[Callable[[bytes], _Found]] = msgspec.json.Decoder(_Found).decode
_decode_entries: Final[Callable[[bytes], list[_Entry]]] = msgspec.json.Decoder(list[_Entry]).decode


def build_document(saga_id: str, saga: Saga) -> Document:
    """A saga's nine fields."""
    return Document(
        saga_id=saga_id,
        latest_event=saga.latest_event,
        history=saga.history,
        current_state=saga.current_state,
        associated_entity_id=saga.associated_entity_id,
        is_final=saga.is_final,
        business_state_id=saga.business_state_id,
        business_state_description=saga.business_state_description,
        metadata=saga.metadata,
    )


def build_ours(saga: Saga) -> Ours:
    """The rest of the saga."""
    return Ours(saga.seq, saga.revision, saga.created_at, saga.updated_at, saga.outbox, saga.held, saga.timers)


def decode_document(value: bytes) -> Saga:
    """The saga in a document, as JSON. Raises UnreadableDocumentError.

    Where Flow Manager wrote it, `seq` is the number of states in its history, so that a saga which has gone further has
    the higher one, and what is not there is empty: `revision` always, the business state and the times possibly.
    """
    try:
        found = _decode_found(value)
        states = _decode_entries(found.history.states)
        _decode_entries(found.history.events)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableDocumentError(f"the store's document is not a saga: {error}") from None
    if not found.current_state:
        raise UnreadableDocumentError("the store's document is not a saga: its currentState is empty")
    ours = found.flowmachine
    if ours is None:
        times = [entry.timestamp for entry in states]
        ours = Ours(max(len(states), 1), "", _time(times[:1]), _time(times[-1:]))
    return Saga(
        v=RECORD_VERSION,
        seq=ours.seq,
        revision=ours.revision,
        current_state=found.current_state,
        latest_event=found.latest_event or "",
        business_state_id=found.business_state_id if found.business_state_id is not None else "",
        business_state_description=found.business_state_description or "",
        associated_entity_id=found.associated_entity_id or "",
        created_at=ours.created_at,
        updated_at=ours.updated_at,
        metadata=encode_payload(found.metadata or {}),
        history=found.history,
        is_final=bool(found.is_final),
        outbox=ours.outbox,
        held=ours.held,
        timers=ours.timers,
    )


def _time(times: list[object]) -> str:
    """A history's time as ours; empty if it is none."""
    value = times[0] if times else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_timestamp(int(value))
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            return format_timestamp(round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
        except ValueError:
            return ""
    return ""
