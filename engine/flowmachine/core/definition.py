"""A machine, compiled: every reference resolved, every lookup a dictionary.

`flowmachine.config` builds these values from a FlowMachine resource or a Flow Manager `saga.json`; nothing here is
parsed or checked again. Payload schemas, hooks and payload expressions arrive as plain callables, so the core does not
know which library runs them.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NewType, final

import msgspec
from msgspec.structs import force_setattr

if TYPE_CHECKING:
    from flowmachine.core.saga import Saga

SagaId = NewType("SagaId", str)
StateId = NewType("StateId", str)
ChannelId = NewType("ChannelId", str)

Payload = dict[str, Any]
"""A decoded JSON object: an event's payload, or a saga's metadata while it is worked on."""

PayloadText = msgspec.Raw
"""A payload or a saga's metadata as JSON text of our own encoder. Written once, copied wherever it goes."""

PayloadCheck = Callable[[Payload], str | None]
"""Returns what is wrong with a payload in one sentence, or None."""

MetadataMerge = Callable[[Payload, Payload], Payload]
"""Returns a new object: the first with the second merged into it. Neither argument is changed."""


class HookError(Exception):
    """A hook or a payload expression gave nothing that can be used; the text says why, in one sentence."""


PayloadBuilder = Callable[[SagaId, "Saga"], Payload]
"""Makes a command's payload of the saga that has just entered the command's state. Raises HookError.

The same saga gives the same payload: clock and chance in it come from the saga's own time and id.
"""

Customizer = Callable[[Any, Any], Any]
"""(old value, new value) -> the value to take, or `merge.UNDEFINED` for the usual rules. Raises HookError.

`merge.UNDEFINED` stands for an old value that is not there. Neither argument is changed.
"""

CustomizerBuilder = Callable[[SagaId, int], Customizer]
"""Makes the customizer for a saga and the time of its event."""

Frame = tuple[bytes, bytes]
"""The JSON text of a history's entry before and after its time, and the end of the array."""

BusinessId = int | str

_encode = msgspec.json.Encoder().encode


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


def event_frame(event: str, business_event: BusinessEvent | None) -> Frame:
    """An event's entry in a history."""
    before = b'{"event":%b,"timestamp":"' % _encode(event)
    if business_event is None:
        return before, b'"}]'
    business = b'"businessEventId":%b,"businessEventDescription":%b' % (
        _encode(business_event.id),
        _encode(business_event.description),
    )
    return before, b'",%b}]' % business


@final
class Command(msgspec.Struct, frozen=True):
    """What a state asks of a participant when it is entered.

    `is_outbox` commands leave over HTTP: they stay in the saga's record until the endpoint has answered 2xx. Without
    `build` the payload is the saga's metadata.
    """

    channel: ChannelId
    label: str
    is_outbox: bool
    build: PayloadBuilder | None = None


@final
class SendCommand(msgspec.Struct, frozen=True, gc=False):
    """Append a command to its channel's topics."""

    channel: ChannelId
    label: str
    payload: PayloadText | None = None
    """None: the metadata of the saga that sends it."""


@final
class Transition(msgspec.Struct, frozen=True):
    """Where an event leads. `check` refuses payloads that do not fit `payloadValidationSchema`."""

    input_event: str
    target_state: StateId
    business_event: BusinessEvent | None
    check: PayloadCheck | None
    frame: Frame = (b"", b"")
    """Its event in a history; follows from the rest."""

    def __post_init__(self) -> None:
        force_setattr(self, "frame", event_frame(self.input_event, self.business_event))


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
    frame: Frame = (b"", b"")
    """Its entry in a history; follows from the rest."""
    commands: tuple[Command, ...] = ()
    """All commands, the state's own first; follows from the rest."""
    sends: tuple[SendCommand, ...] | None = None
    """The same as they are sent, where they are the same for every saga; follows from the rest."""

    def __post_init__(self) -> None:
        business = b'"businessStateId":%b,"businessStateDescription":%b' % (
            _encode(self.business_state.id),
            _encode(self.business_state.description),
        )
        force_setattr(self, "frame", (b'{"state":%b,"timestamp":"' % _encode(self.id), b'",%b}]' % business))
        own = () if self.command is None else (self.command,)
        commands = (*own, *self.side_commands)
        force_setattr(self, "commands", commands)
        is_plain = not any(command.is_outbox or command.build for command in commands)
        sends = tuple(SendCommand(each.channel, each.label) for each in commands)
        force_setattr(self, "sends", sends if is_plain else None)


@final
class Machine(msgspec.Struct, frozen=True):
    """A whole machine. `revision` names this exact definition (a hash of its content)."""

    name: str
    revision: str
    initial_state: StateId
    creation_event: str
    states: Mapping[StateId, State]
    merge: MetadataMerge
    customize: CustomizerBuilder | None = None
    """For metadata that a hook merges, by `merge_deep`."""

    @property
    def has_hooks(self) -> bool:
        """Whether something runs that may fail, or succeed the next time."""
        commands = [c for state in self.states.values() for c in (state.command, *state.side_commands) if c]
        return self.customize is not None or any(command.build is not None for command in commands)
