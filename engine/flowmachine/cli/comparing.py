"""`import --compare`: recorded inputs, decided twice; what comes of them must be the same.

A recording has one JSON object per line, in the order in which the inputs were handled:

    {"key": "<saga id>", "value": {"associatedEntityId": ..., "metadata": {...}}}         a creation
    {"key": "<saga id>", "value": {"messageLabel": ..., "messagePayload": {...}}}         an event
    both with "timestamp" (milliseconds since 1970), if it is known
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.text import Text

from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.adapters.javascript.meaning import FlowManagerMeaning
from flowmachine.cli.command import EXIT_OK, EXIT_PROBLEM
from flowmachine.cli.output import output_console
from flowmachine.cli.problem_text import count
from flowmachine.cli.source import load_flow_machine
from flowmachine.config.build import build_machine
from flowmachine.config.documents import as_object, is_array, is_object
from flowmachine.config.text import parse_documents
from flowmachine.core.decide import decide
from flowmachine.core.definition import HookError, Machine, SagaId
from flowmachine.core.inputs import Create, EventReceived
from flowmachine.core.saga import Saga
from flowmachine.diagram.typography import clean_text
from flowmachine.errors import ConfigurationError

DIFFERENCES_MAX: Final = 20
"""Differences that are shown; more are counted."""
_TEXT_LENGTH_MAX: Final = 160


class _Input(msgspec.Struct):
    key: str
    value: dict[str, Any]
    timestamp: int = 0


class _Ours:
    """The sagas under the engine's core."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.sagas: dict[str, Saga] = {}
        self.commands: dict[str, list[dict[str, Any]]] = {}

    def take(self, received: _Input) -> None:
        before = self.sagas.get(received.key)
        saga_id = SagaId(received.key)
        value = copy.deepcopy(received.value)
        if "messageLabel" in value:
            written: object = value.get("messagePayload")
            payload: object = {} if written is None else written
            if not is_object(payload):
                return
            decision = decide(
                self._machine, before, EventReceived(saga_id, value["messageLabel"], payload, received.timestamp)
            )
        else:
            creation = Create(saga_id, value["associatedEntityId"], value["metadata"], received.timestamp)
            decision = decide(self._machine, before, creation)
        if decision.saga is None:
            return
        self.sagas[received.key] = decision.saga
        sent = self.commands.setdefault(received.key, [])
        outbox = decision.saga.outbox[len(before.outbox) if before else 0 :]
        made = [(each.channel, each.label, each.payload) for each in outbox]
        made += [(each.channel, each.label, decision.payload_of(each)) for each in decision.commands]
        sent += [{"channel": channel, "label": label, "payload": payload} for channel, label, payload in made]
        sent += [_failed(each.command) for each in decision.failures]

    def view(self, saga_id: str) -> dict[str, Any] | None:
        """As `FlowManagerMeaning.saga`."""
        saga = self.sagas.get(saga_id)
        if saga is None:
            return None
        history: dict[str, list[dict[str, Any]]] = json.loads(msgspec.json.encode(saga.history))
        return {
            "currentState": saga.current_state,
            "latestEvent": saga.latest_event,
            "isFinal": saga.is_final,
            "businessStateId": saga.business_state_id,
            "businessStateDescription": saga.business_state_description,
            "associatedEntityId": saga.associated_entity_id,
            "metadata": saga.metadata,
            "history.states": [each["state"] for each in history["states"]],
            "history.events": [each["event"] for each in history["events"]],
        }


def compare(source: str, text: bytes, name: str | None, recorded: Path) -> int:
    """Print the differences; returns the exit code. Raises ConfigurationError, also for a recording that is none."""
    resource = load_flow_machine(source, text, name, os.environ)
    configuration = as_object(parse_documents(text, source)[0].value)
    try:
        theirs = FlowManagerMeaning(configuration)
    except HookError as error:
        raise ConfigurationError.of(source, "bad-hook", str(error)) from error
    ours = _Ours(build_machine(resource, JavaScriptHooks()))
    inputs = list(_read(recorded))
    for received in inputs:
        ours.take(received)
        if "messageLabel" in received.value:
            theirs.report(received.key, received.value["messageLabel"], received.value.get("messagePayload"))
        else:
            theirs.create(received.key, received.value)
    saga_ids = list(dict.fromkeys(received.key for received in inputs))
    differences = [line for saga_id in saga_ids for line in _differences(saga_id, theirs, ours)]
    console = output_console()
    for line in differences[:DIFFERENCES_MAX]:
        console.print(Text.assemble(("  ≠ ", "yellow"), clean_text(line)))
    if len(differences) > DIFFERENCES_MAX:
        console.print(Text(f"    and {len(differences) - DIFFERENCES_MAX} more", "dim"))
    said = f"{count(len(inputs), 'input')}, {count(len(saga_ids), 'key')}, {count(len(differences), 'difference')}"
    console.print(Text(said, "bold red" if differences else "bold green"))
    return EXIT_PROBLEM if differences else EXIT_OK


def _differences(saga_id: str, theirs: FlowManagerMeaning, ours: _Ours) -> Iterator[str]:
    their_saga, our_saga = theirs.saga(saga_id), ours.view(saga_id)
    if their_saga is None or our_saga is None:
        if their_saga is not our_saga:
            yield f"saga {saga_id}: it exists only {'here' if their_saga is None else 'under Flow Manager'}"
        return
    history = their_saga["history"]
    their_saga["history.states"] = [each["state"] for each in history["states"]]
    their_saga["history.events"] = [each["event"] for each in history["events"]]
    for name, value in our_saga.items():
        if not _same(value, their_saga.get(name)):
            yield f"saga {saga_id}: {name} is {_short(value)} here, {_short(their_saga.get(name))} under Flow Manager"
    # A state's commands over HTTP and over Kafka leave by different ways: their order between channels is nobody's.
    commands = [_failed(each["label"]) if "failed" in each else each for each in their_saga["commands"]]
    for channel in dict.fromkeys(each["channel"] for each in (*commands, *ours.commands[saga_id])):
        sent_there = [each for each in commands if each["channel"] == channel]
        sent_here = [each for each in ours.commands[saga_id] if each["channel"] == channel]
        if not _same(sent_here, sent_there):
            what = "commands that a hook could not make" if channel is None else f"commands on {channel!r}"
            yield f"saga {saga_id}: {what} are {_short(sent_here)} here, {_short(sent_there)} there"


def _failed(label: str | None) -> dict[str, Any]:
    return {"channel": None, "label": label}


def _read(recorded: Path) -> Iterator[_Input]:
    decode = msgspec.json.Decoder(_Input).decode
    try:
        lines = recorded.read_bytes().splitlines()
    except OSError as error:
        detail = error.strerror or str(error)
        raise ConfigurationError.of(str(recorded), "file-not-readable", f"cannot be read: {detail}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            received = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigurationError.of(str(recorded), "not-a-recording", f"line {number}: {error}") from error
        value = received.value
        is_creation = isinstance(value.get("associatedEntityId"), str) and isinstance(value.get("metadata"), dict)
        if not is_creation and not isinstance(value.get("messageLabel"), str):
            message = f"line {number}: the value is neither a creation nor an event"
            raise ConfigurationError.of(str(recorded), "not-a-recording", message)
        yield received


def _same(one: object, other: object) -> bool:
    """As JSON, numbers by value: `12.0` is `12` in JavaScript."""
    return json.dumps(_plain(_decoded(one)), sort_keys=True) == json.dumps(_plain(_decoded(other)), sort_keys=True)


def _decoded(value: object) -> object:
    """With the texts in it, as which sagas keep their metadata, decoded."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if is_object(value):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if is_array(value) else value


def _short(value: object) -> str:
    text = json.dumps(_decoded(value), ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _TEXT_LENGTH_MAX else f"{text[:_TEXT_LENGTH_MAX]}..."
