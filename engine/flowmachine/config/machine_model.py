"""The machine as written: Flow Manager's names, verbatim."""

from typing import Annotated, Final
from typing import Literal as OneOf

from pydantic import Field, StrictBool, StrictStr

from flowmachine.config.fields import BusinessIdField, Description, Expression, Id, Label, Model

STATES_MAX: Final = 1000
"""Bound of parsing; the CRD's own limit is lower (see `Id`)."""

TRANSITIONS_MAX: Final = 64
SIDE_EFFECTS_MAX: Final = 64
BUSINESS_ENTRIES_MAX: Final = 1000
HOOK_LENGTH_MAX: Final = 262_144


class Hook(Model):
    """JavaScript source, as Flow Manager has it; needs the extra `javascript`."""

    type: OneOf["file"] = Field(default="file", description="How the source is given; only `file`: in `content`.")
    encoding: OneOf["plain", "base64"] = Field(default="plain", description="How `content` is encoded.")
    content: StrictStr = Field(
        description="The source of a JavaScript module with an `export default` function.", max_length=HOOK_LENGTH_MAX
    )


class OutputCommand(Model):
    """A command: a label sent on a channel, with the saga's metadata as payload if nothing else is said."""

    channel: Id = Field(description="Id of the channel that carries the command.")
    label: Label = Field(description="Label of the command, by which the service knows what to do.")
    hook: Hook | None = Field(
        default=None,
        description="JavaScript that builds the payload: `({saga, messageLabel}) => ({payload})`, as in Flow Manager.",
    )
    payload: Expression | None = Field(
        default=None,
        description="CEL expression whose value, a map, is the payload; it sees `saga` and `messageLabel`. For example "
        "`{'orderId': saga.associatedEntityId, 'total': saga.metadata.total}`.",
    )


class OutgoingTransition(Model):
    """Where an event leads from a state."""

    input_event: Label = Field(description="Label of the event; each event stands at most once in a state.")
    target_state: Id = Field(description="Id of the state that the event leads to.")
    business_event_id: BusinessIdField | None = Field(
        default=None, description="Id of the business event that this transition stands for."
    )
    payload_validation_schema: dict[str, object] | None = Field(
        default=None,
        description="JSON Schema (draft-07) of the event's payload; an event that does not fit is refused. "
        "No `$ref` to other documents.",
    )


class State(Model):
    """A state: the command that it sends when entered, and the events that lead on from it."""

    id: Id = Field(description="Id of the state, unique in the machine.")
    description: Description | None = Field(default=None, description="What the state means, for people.")
    is_final: StrictBool = Field(description="Whether a saga is finished once it is in this state.")
    business_state_id: BusinessIdField = Field(description="Id of the business state that this state belongs to.")
    output_command: OutputCommand | None = Field(
        default=None, description="Command that is sent when the state is entered, the initial state included."
    )
    side_effects: tuple[OutputCommand, ...] = Field(
        default=(),
        description="More commands, sent beside the main one; their failure never holds the saga back.",
        max_length=SIDE_EFFECTS_MAX,
    )
    outgoing_transitions: tuple[OutgoingTransition, ...] = Field(
        default=(), description="The events that the state waits for.", max_length=TRANSITIONS_MAX
    )


class BusinessState(Model):
    """A stage that the business knows by name; several states may share one."""

    id: BusinessIdField = Field(description="Id of the business state, a whole number or a text; unique.")
    description: Description = Field(default="", description="What the business calls this stage.")


class BusinessEvent(Model):
    """An occurrence that the business knows by name."""

    id: BusinessIdField = Field(description="Id of the business event, a whole number or a text; unique.")
    description: Description = Field(default="", description="What the business calls this occurrence.")


class MachineDefinition(Model):
    """A finite state machine; every saga follows it from its initial state to a final one."""

    initial_state: Id = Field(description="Id of the state of a new saga.")
    creation_event: Label = Field(
        default="__created__", description="Label recorded in the history for a saga's creation."
    )
    states: Annotated[tuple[State, ...], Field(min_length=1, max_length=STATES_MAX)] = Field(
        description="All states of the machine."
    )
    business_states: Annotated[tuple[BusinessState, ...], Field(min_length=1, max_length=BUSINESS_ENTRIES_MAX)] = Field(
        description="The stages that states belong to."
    )
    business_events: tuple[BusinessEvent, ...] = Field(
        default=(), description="The occurrences that transitions stand for.", max_length=BUSINESS_ENTRIES_MAX
    )
