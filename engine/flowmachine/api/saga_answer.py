"""A saga's record as the JSON of `GET /sagas/{sagaId}`: Flow Manager's stored fields under their names, then ours."""

from typing import Annotated, Any, Final, final

import msgspec

from flowmachine.core.definition import BusinessId, Payload
from flowmachine.core.timestamps import format_timestamp
from flowmachine.wire.record import decode_saga

_STATES_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["state", "timestamp", "businessStateId", "businessStateDescription"],
        "properties": {
            "state": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "businessStateId": {"type": ["integer", "string"]},
            "businessStateDescription": {"type": "string"},
        },
    },
}
_EVENTS_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["event", "timestamp"],
        "properties": {
            "event": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "businessEventId": {"type": ["integer", "string"]},
            "businessEventDescription": {"type": "string"},
        },
    },
}


@final
class HistoryAnswer(msgspec.Struct, frozen=True):
    """What happened, oldest first."""

    states: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_STATES_SCHEMA)]
    events: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_EVENTS_SCHEMA)]


@final
class PendingCommand(msgspec.Struct, frozen=True, rename="camel"):
    """A command over HTTP that no 2xx has answered yet; with a `failure` it waits for a person."""

    id: str
    channel: str
    label: str
    is_side_command: bool
    failure: str | None


@final
class HeldEventAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """An event that waits until the saga may go on."""

    label: str
    payload: Payload
    received_at: str


@final
class HoldAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Why the saga does not move: a hook of this revision has failed. `command`: what has not been sent, or null."""

    reason: str
    revision: str
    command: str | None


@final
class SagaAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A saga as it is now."""

    saga_id: str
    latest_event: str
    history: HistoryAnswer
    current_state: str
    associated_entity_id: str
    is_final: bool
    business_state_id: BusinessId
    business_state_description: str
    metadata: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
    seq: int
    revision: str
    created_at: str
    updated_at: str
    outbox: list[PendingCommand]
    held: list[HeldEventAnswer]
    hold: HoldAnswer | None


def decode_saga_answer(saga_id: str, record: bytes) -> SagaAnswer:
    """What people are told about the saga in a record."""
    saga = decode_saga(record)
    return SagaAnswer(
        saga_id=saga_id,
        latest_event=saga.latest_event,
        history=HistoryAnswer(saga.history.states, saga.history.events),
        current_state=saga.current_state,
        associated_entity_id=saga.associated_entity_id,
        is_final=saga.is_final,
        business_state_id=saga.business_state_id,
        business_state_description=saga.business_state_description,
        metadata=saga.metadata,
        seq=saga.seq,
        revision=saga.revision,
        created_at=saga.created_at,
        updated_at=saga.updated_at,
        outbox=[
            PendingCommand(entry.id, entry.channel, entry.label, entry.is_side_command, entry.failure)
            for entry in saga.outbox
        ],
        held=[
            HeldEventAnswer(event.label, event.payload, format_timestamp(event.received_at_ms)) for event in saga.held
        ],
        hold=None if saga.hold is None else HoldAnswer(saga.hold.reason, saga.hold.revision, saga.hold.command),
    )
