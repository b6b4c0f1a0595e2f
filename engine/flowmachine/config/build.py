"""FlowMachine -> the core's Machine: every reference resolved, every schema compiled, once."""

import hashlib
import json
from typing import Final

from flowmachine.config.machine_model import OutgoingTransition, OutputCommand
from flowmachine.config.machine_model import State as WrittenState
from flowmachine.config.resource import FlowMachine, FlowMachineSpec
from flowmachine.config.schemas import build_payload_check
from flowmachine.core.check import Declared, Finding, check_machine
from flowmachine.core.definition import (
    BusinessEvent,
    BusinessId,
    BusinessState,
    ChannelId,
    Command,
    Machine,
    State,
    StateId,
    Transition,
)
from flowmachine.core.merge import merge_deep, merge_shallow

REVISION_LENGTH: Final = 12
"""Hex digits of a revision: 48 bits, plenty for the few revisions of one machine, short in names of ConfigMaps."""


def build_machine(resource: FlowMachine) -> Machine:
    """The machine that the resource describes. The resource came from `load`: its references hold."""
    spec = resource.spec
    builder = _Builder(spec)
    states = [builder.build_state(state) for state in spec.machine.states]
    return Machine(
        name=resource.metadata.name,
        revision=revision_of(spec),
        initial_state=StateId(spec.machine.initial_state),
        creation_event=spec.machine.creation_event,
        states={state.id: state for state in states},
        merge=merge_deep if spec.settings.deep_merge_metadata.enabled else merge_shallow,
    )


def revision_of(spec: FlowMachineSpec) -> str:
    """A short hash of all that decides how a saga moves: the machine, the channels' kinds, how metadata is merged."""
    content = {
        "machine": spec.machine.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "channels": {channel.id: "kafka" if channel.rest is None else "rest" for channel in spec.channels},
        "deepMergeMetadata": spec.settings.deep_merge_metadata.enabled,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:REVISION_LENGTH]


def check_resource(resource: FlowMachine) -> list[Finding]:
    """What looks wrong in the machine although it can run; paths begin below `spec`."""
    spec = resource.spec
    declared = Declared(
        channels=tuple(ChannelId(channel.id) for channel in spec.channels),
        listening_channels=frozenset(
            ChannelId(channel.id)
            for channel in spec.channels
            if channel.kafka is not None and channel.kafka.input_topics
        ),
        business_states=tuple(entry.id for entry in spec.machine.business_states),
        business_events=tuple(entry.id for entry in spec.machine.business_events),
    )
    return check_machine(build_machine(resource), declared)


class _Builder:
    def __init__(self, spec: FlowMachineSpec) -> None:
        machine = spec.machine
        self._outbox_channels = {channel.id for channel in spec.channels if channel.rest is not None}
        self._business_states: dict[BusinessId, BusinessState] = {
            entry.id: BusinessState(entry.id, entry.description) for entry in machine.business_states
        }
        self._business_events: dict[BusinessId, BusinessEvent] = {
            entry.id: BusinessEvent(entry.id, entry.description) for entry in machine.business_events
        }

    def build_state(self, state: WrittenState) -> State:
        return State(
            id=StateId(state.id),
            description=state.description or "",
            is_final=state.is_final,
            business_state=self._business_states[state.business_state_id],
            command=None if state.output_command is None else self._build_command(state.output_command),
            side_commands=tuple(self._build_command(command) for command in state.side_effects),
            transitions={entry.input_event: self._build_transition(entry) for entry in state.outgoing_transitions},
        )

    def _build_command(self, command: OutputCommand) -> Command:
        return Command(ChannelId(command.channel), command.label, is_outbox=command.channel in self._outbox_channels)

    def _build_transition(self, transition: OutgoingTransition) -> Transition:
        schema, business_event = transition.payload_validation_schema, transition.business_event_id
        return Transition(
            input_event=transition.input_event,
            target_state=StateId(transition.target_state),
            business_event=None if business_event is None else self._business_events[business_event],
            check=None if schema is None else build_payload_check(schema),
        )
