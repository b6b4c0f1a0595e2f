"""A machine, compiled: every reference resolved, every lookup a dictionary.

`flowmachine.config` builds these values from a FlowMachine resource or a Flow Manager `saga.json`; nothing here is
parsed or checked again. Payload schemas arrive as plain callables, so the core does not know which library runs them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NewType, final

import msgspec

SagaId = NewType("SagaId", str)
StateId = NewType("StateId", str)
ChannelId = NewType("ChannelId", str)

Payload = dict[str, Any]
"""A decoded JSON object: an event's or a command's payload, or a saga's metadata."""

PayloadCheck = Callable[[Payload], str | None]
"""Returns what is wrong with a payload in one sentence, or None."""

MetadataMerge = Callable[[Payload, Payload], Payload]
"""Returns a new object: the first with the second merged into it. Neither argument is changed."""

BusinessId = int | str


@final
class BusinessState(msgspec.Struct, frozen=True, gc=False):
    """A stage that the business knows by name; several states share one."""

    id: BusinessId
    description: str


@final
class BusinessEvent(msgspec.Struct, frozen=True, gc=False):
    """An occurrence that the business knows by name."""

    id: BusinessId
    description: str


@final
class Command(msgspec.Struct, frozen=True):
    """What a state asks of a participant when it is entered.

    `is_outbox` commands leave over HTTP: they stay in the saga's record until the endpoint has answered 2xx.
    """

    channel: ChannelId
    label: str
    is_outbox: bool


@final
class Transition(msgspec.Struct, frozen=True):
    """Where an event leads. `check` refuses payloads that do not fit `payloadValidationSchema`."""

    input_event: str
    target_state: StateId
    business_event: BusinessEvent | None
    check: PayloadCheck | None


@final
class State(msgspec.Struct, frozen=True):
    """A state with its command, side commands, and transitions by input event."""

    id: StateId
    description: str
    is_final: bool
    business_state: BusinessState
    command: Command | None
    side_commands: tuple[Command, ...]
    transitions: Mapping[str, Transition]


@final
class Machine(msgspec.Struct, frozen=True):
    """A whole machine. `revision` names this exact definition (a hash of its content)."""

    name: str
    revision: str
    initial_state: StateId
    creation_event: str
    states: Mapping[StateId, State]
    merge: MetadataMerge
