"""FlowMachine -> the core's Machine: every reference resolved, every schema compiled, once."""

import hashlib
import json
from collections.abc import Callable
from typing import Final

from flowmachine.config.expressions import build_expression
from flowmachine.config.hooks import HookCompiler, UnrunHooks, decode_hook
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
    Customizer,
    HookError,
    Machine,
    PayloadBuilder,
    SagaId,
    State,
    StateId,
    Transition,
)
from flowmachine.core.merge import merge_deep, merge_shallow
from flowmachine.errors import ConfigurationError, Problem

REVISION_LENGTH: Final = 12
"""Hex digits of a revision: 48 bits, plenty for the few revisions of one machine, short in names of ConfigMaps."""


def build_machine(resource: FlowMachine, hooks: HookCompiler | None = None) -> Machine:
    """The machine that the resource describes. The resource came from `load`: its references hold.

    Without `hooks` the machine is for looking at: commands with hooks cannot be made. Raises ConfigurationError for
    hooks that cannot be compiled.
    """
    spec = resource.spec
    builder = _Builder(spec, hooks or UnrunHooks())
    states = [builder.build_state(state, f"machine.states[{index}]") for index, state in enumerate(spec.machine.states)]
    customize = builder.build_customizer()
    if builder.findings:
        raise ConfigurationError([Problem(f"spec.{f.path}", f.code, f.message) for f in builder.findings])
    return Machine(
        name=resource.metadata.name,
        revision=revision_of(spec),
        initial_state=StateId(spec.machine.initial_state),
        creation_event=spec.machine.creation_event,
        states={state.id: state for state in states},
        merge=merge_deep if spec.settings.deep_merge_metadata.enabled else merge_shallow,
        customize=customize,
    )


def check_hooks(resource: FlowMachine, hooks: HookCompiler) -> list[Finding]:
    """The hooks that cannot be compiled, as errors; paths begin below `spec`."""
    builder = _Builder(resource.spec, hooks)
    for index, state in enumerate(resource.spec.machine.states):
        builder.build_state(state, f"machine.states[{index}]")
    builder.build_customizer()
    return builder.findings


def revision_of(spec: FlowMachineSpec) -> str:
    """A short hash of all that decides how a saga moves: the machine, the channels' kinds, how metadata is merged."""
    content: dict[str, object] = {
        "machine": spec.machine.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "channels": {channel.id: "kafka" if channel.rest is None else "rest" for channel in spec.channels},
        "deepMergeMetadata": spec.settings.deep_merge_metadata.enabled,
    }
    if _customizer(spec) is not None:
        content["deepMergeHook"] = _customizer(spec)
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
    return [*check_machine(build_machine(resource), declared), *_check_delivery(spec)]


def _check_delivery(spec: FlowMachineSpec) -> list[Finding]:
    if spec.settings.delivery == "exactlyOnce" or any(channel.kafka for channel in spec.channels):
        return []
    message = "without a Kafka channel the log is a file, which needs no transactions of Kafka: it is exact anyhow"
    return [Finding("settings.delivery", "without-effect", message, "warning")]


class _Builder:
    def __init__(self, spec: FlowMachineSpec, hooks: HookCompiler) -> None:
        machine = spec.machine
        self.findings: list[Finding] = []
        self._hooks = hooks
        self._customizer = _customizer(spec)
        self._outbox_channels = {channel.id for channel in spec.channels if channel.rest is not None}
        self._business_states: dict[BusinessId, BusinessState] = {
            entry.id: BusinessState(entry.id, entry.description) for entry in machine.business_states
        }
        self._business_events: dict[BusinessId, BusinessEvent] = {
            entry.id: BusinessEvent(entry.id, entry.description) for entry in machine.business_events
        }

    def build_state(self, state: WrittenState, path: str) -> State:
        return State(
            id=StateId(state.id),
            description=state.description or "",
            is_final=state.is_final,
            business_state=self._business_states[state.business_state_id],
            command=None
            if state.output_command is None
            else self._build_command(state.output_command, f"{path}.outputCommand"),
            side_commands=tuple(
                self._build_command(command, f"{path}.sideEffects[{index}]")
                for index, command in enumerate(state.side_effects)
            ),
            transitions={entry.input_event: self._build_transition(entry) for entry in state.outgoing_transitions},
        )

    def _build_command(self, command: OutputCommand, path: str) -> Command:
        return Command(
            ChannelId(command.channel),
            command.label,
            is_outbox=command.channel in self._outbox_channels,
            build=self._build_payload(command, path),
        )

    def _build_payload(self, command: OutputCommand, path: str) -> PayloadBuilder | None:
        if command.payload is not None:
            return build_expression(command.payload, command.label)
        if command.hook is None:
            return None
        try:
            return self._hooks.build_payload(decode_hook(command.hook), command.label)
        except HookError as error:
            self.findings.append(Finding(f"{path}.hook", "bad-hook", str(error), severity="error"))
            return None

    def build_customizer(self) -> Callable[[SagaId, int], Customizer] | None:
        if self._customizer is None:
            return None
        try:
            return self._hooks.build_customizer(self._customizer)
        except HookError as error:
            path = "settings.deepMergeMetadata.hook"
            self.findings.append(Finding(path, "bad-hook", str(error), severity="error"))
            return None

    def _build_transition(self, transition: OutgoingTransition) -> Transition:
        schema, business_event = transition.payload_validation_schema, transition.business_event_id
        return Transition(
            input_event=transition.input_event,
            target_state=StateId(transition.target_state),
            business_event=None if business_event is None else self._business_events[business_event],
            check=None if schema is None else build_payload_check(schema),
        )


def _customizer(spec: FlowMachineSpec) -> str | None:
    """The source of the hook that merges metadata; without deep merge it has no effect."""
    merging = spec.settings.deep_merge_metadata
    return decode_hook(merging.hook) if merging.enabled and merging.hook is not None else None
