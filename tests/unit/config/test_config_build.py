"""From a resource to the core's machine."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from flowmachine.config.build import REVISION_LENGTH, build_machine, check_resource
from flowmachine.config.load import load_document, load_text
from flowmachine.config.schemas import SENTENCE_LENGTH_MAX, build_payload_check
from flowmachine.core.definition import BusinessEvent, BusinessState, Command, StateId
from flowmachine.core.merge import merge_deep, merge_shallow

ROOT = Path(__file__).resolve().parents[3]
ORDERS = ROOT / "examples" / "orders" / "flowmachine.yaml"
SAGA_JSON = ROOT / "examples" / "flow-manager" / "saga.json"
PACKAGED = ROOT / "engine" / "flowmachine" / "examples" / "orders.yaml"

DOCUMENT: dict[str, Any] = {
    "apiVersion": "flowmachine.io/v1alpha1",
    "kind": "FlowMachine",
    "metadata": {"name": "orders"},
    "spec": {
        "machine": {
            "initialState": "a",
            "states": [
                {
                    "id": "a",
                    "isFinal": False,
                    "businessStateId": 1,
                    "outputCommand": {"channel": "kafka", "label": "go"},
                    "sideEffects": [{"channel": "rest", "label": "tell"}],
                    "outgoingTransitions": [
                        {
                            "inputEvent": "gone",
                            "targetState": "b",
                            "businessEventId": "e",
                            "payloadValidationSchema": {"properties": {"n": {"type": "number"}}},
                        }
                    ],
                },
                {"id": "b", "isFinal": True, "businessStateId": "1", "description": "the end"},
            ],
            "businessStates": [{"id": 1, "description": "number"}, {"id": "1", "description": "text"}],
            "businessEvents": [{"id": "e", "description": "went"}],
        },
        "channels": [
            {"id": "kafka", "kafka": {"brokers": "a:1", "outputTopics": ["o"]}},
            {"id": "rest", "rest": {"host": "h"}},
        ],
    },
}


def test_the_machine_holds_what_the_resource_says() -> None:
    machine = build_machine(load_document(DOCUMENT, "x"))
    assert (machine.name, machine.initial_state, machine.creation_event) == ("orders", "a", "__created__")
    assert machine.merge is merge_shallow
    first, last = machine.states[StateId("a")], machine.states[StateId("b")]
    assert first.command == Command("kafka", "go", is_outbox=False)  # type: ignore[arg-type]
    assert first.side_commands == (Command("rest", "tell", is_outbox=True),)  # type: ignore[arg-type]
    assert first.business_state == BusinessState(1, "number")
    assert last.business_state == BusinessState("1", "text")
    assert (last.is_final, last.description, last.command) == (True, "the end", None)
    transition = first.transitions["gone"]
    assert transition.business_event == BusinessEvent("e", "went")
    assert transition.check is not None
    assert transition.check({"n": 1}) is None
    assert transition.check({"n": "hunter2"}) == 'payload at $.n: the value is not of type "number"'


def changed(path: str, value: object) -> str:
    document = copy.deepcopy(DOCUMENT)
    target: Any = document["spec"]
    *parents, last = path.split(".")
    for part in parents:
        target = target[int(part)] if part.isdecimal() else target.setdefault(part, {})
    target[int(last) if last.isdecimal() else last] = value
    return build_machine(load_document(document, "x")).revision


def test_the_revision_changes_with_what_decides_and_with_nothing_else() -> None:
    revision = build_machine(load_document(DOCUMENT, "x")).revision
    assert len(revision) == REVISION_LENGTH
    assert changed("machine.creationEvent", "__created__") == revision
    assert changed("channels.0.kafka", {"brokers": "z:9", "outputTopics": ["other"]}) == revision
    assert changed("settings.sagaIdPrefix", "x-") == revision
    assert changed("machine.creationEvent", "created") != revision
    assert changed("channels.0", {"id": "kafka", "rest": {"host": "h"}}) != revision
    assert changed("settings.deepMergeMetadata", {"enabled": True}) != revision


def test_deep_merge_is_a_setting() -> None:
    document = {**DOCUMENT, "spec": {**DOCUMENT["spec"], "settings": {"deepMergeMetadata": {"enabled": True}}}}
    assert build_machine(load_document(document, "x")).merge is merge_deep


@pytest.mark.parametrize(
    ("schema", "payload", "sentence"),
    [
        ({"required": ["a"]}, {}, 'payload at $: "a" is a required property'),
        (
            {"properties": {"a": {"items": {"maximum": 3}}}},
            {"a": [1, 9]},
            "payload at $.a[1]: the value is greater than the maximum of 3",
        ),
        ({"properties": {"a": {"format": "date"}}}, {"a": "x"}, 'payload at $.a: the value is not a "date"'),
        (
            {"properties": {"a": {"maximum": 3}}},
            {"a": 10**40},
            "payload at $.a: the value is greater than the maximum of 3",
        ),
        (False, {}, "payload at $: False schema does not allow the value"),
    ],
)
def test_a_refused_payload_is_explained_without_its_values(schema: Any, payload: dict[str, Any], sentence: str) -> None:
    assert build_payload_check(schema)(payload) == sentence


def test_the_sentence_about_a_payload_has_a_limit() -> None:
    sentence = build_payload_check({"properties": {}, "additionalProperties": False})({"x" * 5000: 1})
    assert sentence is not None
    assert len(sentence) == SENTENCE_LENGTH_MAX


def test_a_payload_that_cannot_be_checked_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"a": deep}
    sentence = "the payload does not fit its schema, or cannot be checked against it"
    assert build_payload_check({"enum": [{"a": 1}]})(deep) == sentence
    assert build_payload_check({"required": ["a"]})({1: 2}) == sentence  # type: ignore[dict-item]


def test_the_examples_are_one_machine() -> None:
    assert ORDERS.read_bytes() == PACKAGED.read_bytes()
    resource = load_text(ORDERS.read_bytes(), ORDERS.name)
    assert check_resource(resource) == []
    converted = load_text(SAGA_JSON.read_bytes(), SAGA_JSON.name, name="orders")
    assert build_machine(converted).revision == build_machine(resource).revision
    assert converted.spec.channels == resource.spec.channels


def test_the_largest_machine_is_read_in_seconds() -> None:
    states = [
        {
            "id": f"s{number}",
            "isFinal": number == 0,
            "businessStateId": 1,
            "outgoingTransitions": [{"inputEvent": f"e{n}", "targetState": f"s{n}"} for n in range(64)]
            if number
            else [],
        }
        for number in range(1000)
    ]
    machine = {"initialState": "s1", "states": states, "businessStates": [{"id": 1}]}
    document = {**DOCUMENT, "spec": {**DOCUMENT["spec"], "machine": machine}}
    resource = load_text(json.dumps(document), "x")
    assert len(build_machine(resource).states) == 1000


def test_without_kafka_the_delivery_has_no_effect() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["spec"]["channels"] = [
        {"id": channel["id"], "rest": {"host": "h"}} for channel in document["spec"]["channels"]
    ]
    document["spec"]["settings"] = {"delivery": "atLeastOnce"}
    found = [(finding.path, finding.code) for finding in check_resource(load_document(document, "x"))]
    assert ("settings.delivery", "without-effect") in found
    document["spec"]["settings"] = {"delivery": "exactlyOnce"}
    found = [(finding.path, finding.code) for finding in check_resource(load_document(document, "x"))]
    assert ("settings.delivery", "without-effect") not in found


def test_unused_declarations_are_findings() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["spec"]["machine"]["businessStates"].append({"id": 7})
    document["spec"]["machine"]["businessEvents"].append({"id": "f"})
    document["spec"]["channels"].append({"id": "more", "rest": {"host": "h"}})
    document["spec"]["channels"].append(
        {"id": "in", "kafka": {"brokers": "a:1", "inputTopics": ["i"], "consumerGroup": "g"}}
    )
    found = [(finding.path, finding.code) for finding in check_resource(load_document(document, "x"))]
    assert found == [
        ("machine.businessStates[2]", "unused-business-state"),
        ("machine.businessEvents[1]", "unused-business-event"),
        ("channels[2]", "unused-channel"),
    ]
