"""Sagas as rows and back. A batch travels as one JSON array: encoded in one go, taken apart by the server."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, final

import msgspec

from flowmachine.core.definition import BusinessId, Payload, PayloadText, StateId
from flowmachine.core.payload import encode_payload
from flowmachine.core.saga import RECORD_VERSION, HeldEvent, History, OutboxEntry, Saga
from flowmachine.core.timestamps import format_timestamp
from flowmachine.ports import Refused, SagaCopy

COLUMNS: Final[Mapping[LiteralString, LiteralString]] = {
    "saga_id": "text",
    "seq": "bigint",
    "revision": "text",
    "current_state": "text",
    "latest_event": "text",
    "is_final": "boolean",
    "business_state_id": "jsonb",
    "business_state_description": "text",
    "associated_entity_id": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "metadata": "jsonb",
    "history": "jsonb",
    "pending": "jsonb",
}
"""All columns but `machine`, with their types."""

SELECTED: Final = (
    "saga_id, seq, revision, current_state, latest_event, is_final, business_state_id::text, "
    "business_state_description, associated_entity_id, created_at, updated_at, metadata::text, "
    "(history->'states')::text, (history->'events')::text, pending::text"
)
"""What `decode_row` takes."""

_RowValues = tuple[
    str, int, str, str, str, bool, str, str, str, datetime, datetime, str, str | None, str | None, str | None
]


@final
class Pending(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What waits in a saga; null in most rows."""

    outbox: tuple[OutboxEntry, ...] = ()
    held: tuple[HeldEvent, ...] = ()
    timers: tuple[dict[str, Any], ...] = ()


@final
class _Row(msgspec.Struct, frozen=True, gc=False):
    saga_id: str
    seq: int
    revision: str
    current_state: str
    latest_event: str
    is_final: bool
    business_state_id: BusinessId
    business_state_description: str
    associated_entity_id: str
    created_at: str
    updated_at: str
    metadata: PayloadText
    history: History
    pending: Pending | None


_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(Payload).decode
_decode_business_id = msgspec.json.Decoder(BusinessId).decode
_decode_pending = msgspec.json.Decoder(Pending).decode


def encode_rows(copies: Sequence[SagaCopy]) -> str:
    """The rows as a JSON array."""
    return _encode([_row(copy.saga_id, copy.saga) for copy in copies]).decode()


def _row(saga_id: str, saga: Saga) -> _Row:
    has_pending = bool(saga.outbox or saga.held or saga.timers)
    return _Row(
        saga_id=saga_id,
        seq=saga.seq,
        revision=saga.revision,
        current_state=saga.current_state,
        latest_event=saga.latest_event,
        is_final=saga.is_final,
        business_state_id=saga.business_state_id,
        business_state_description=saga.business_state_description,
        associated_entity_id=saga.associated_entity_id,
        created_at=saga.created_at,
        updated_at=saga.updated_at,
        metadata=saga.metadata,
        history=saga.history,
        pending=Pending(saga.outbox, saga.held, saga.timers) if has_pending else None,
    )


def decode_row(row: _RowValues) -> tuple[str, Saga | Refused]:
    """A row of `SELECTED`; refused if somebody has put something there that is no saga."""
    (saga_id, seq, revision, state, event, is_final, business_id, business_text, entity, created, updated, metadata,
     states, events, pending_text) = row  # fmt: skip
    try:
        pending = _decode_pending(pending_text) if pending_text else Pending()
        return saga_id, Saga(
            v=RECORD_VERSION,
            seq=seq,
            revision=revision,
            current_state=StateId(state),
            latest_event=event,
            business_state_id=_decode_business_id(business_id),
            business_state_description=business_text,
            associated_entity_id=entity,
            created_at=_format_time(created),
            updated_at=_format_time(updated),
            metadata=encode_payload(_decode_payload(metadata)),  # as we write it
            history=History(msgspec.Raw((states or "[]").encode()), msgspec.Raw((events or "[]").encode())),
            is_final=is_final,
            outbox=pending.outbox,
            held=pending.held,
            timers=pending.timers,
        )
    except msgspec.MsgspecError as error:
        return saga_id, Refused(saga_id, f"the store's row is not a saga: {error}")


def _format_time(at: datetime) -> str:
    return format_timestamp(round(at.timestamp() * 1000))
