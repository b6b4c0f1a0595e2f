"""What may happen to a saga. An input carries its own time, so a recorded history replays exactly."""

from typing import final

import msgspec

from flowmachine.core.definition import Payload, SagaId
from flowmachine.core.saga import Saga
from flowmachine.core.trace import TraceContext


@final
class Create(msgspec.Struct, frozen=True, gc=False):
    """Someone asked for a new saga under this id."""

    saga_id: SagaId
    associated_entity_id: str
    metadata: Payload
    received_at_ms: int
    trace: TraceContext | None = None
    """The trace that it was asked for in."""


@final
class EventReceived(msgspec.Struct, frozen=True, gc=False):
    """A participant reported an event."""

    saga_id: SagaId
    label: str
    payload: Payload
    received_at_ms: int


@final
class CommandDelivered(msgspec.Struct, frozen=True, gc=False):
    """An endpoint answered 2xx to the outbox entry `entry_id`."""

    saga_id: SagaId
    entry_id: str
    received_at_ms: int


@final
class CommandFailed(msgspec.Struct, frozen=True, gc=False):
    """Every attempt at the outbox entry `entry_id` is used up; `reason` is the last answer in one sentence."""

    saga_id: SagaId
    entry_id: str
    reason: str
    received_at_ms: int


@final
class Resumed(msgspec.Struct, frozen=True, gc=False):
    """The saga may move again: a command that could not be made is due, else its oldest held event."""

    saga_id: SagaId
    received_at_ms: int


@final
class Loaded(msgspec.Struct, frozen=True, gc=False):
    """The store's answer about a saga that the engine did not know; None: it has none, for `reason`."""

    saga_id: SagaId
    saga: Saga | None
    reason: str
    received_at_ms: int


Input = Create | EventReceived | CommandDelivered | CommandFailed | Resumed | Loaded
