"""The models: what they promise to readers, and what they never show."""

from typing import Any

import pytest
from pydantic import BaseModel

from flowmachine.config.fields import PATTERN_MESSAGES, parse_duration_ms
from flowmachine.config.load import load_document
from flowmachine.config.resource import FlowMachine, Retention, Settings, dump_document
from flowmachine.core.partitioners import PARTITIONERS

SECRET = "hunter2"

DOCUMENT: dict[str, Any] = {
    "apiVersion": "flowmachine.io/v1alpha1",
    "kind": "FlowMachine",
    "metadata": {"name": "orders", "annotations": {"last-applied": SECRET}, "managedFields": [{"manager": "x"}]},
    "spec": {
        "machine": {
            "initialState": "only",
            "states": [{"id": "only", "isFinal": True, "businessStateId": 1, "description": None}],
            "businessStates": [{"id": 1}],
        },
        "channels": [
            {
                "id": "kafka",
                "kafka": {
                    "brokers": {"secretKeyRef": {"name": "n", "key": "k"}},
                    "outputTopics": ["o"],
                    "tls": {
                        "key": SECRET,
                        "ca": {"file": "/ca"},
                        "passphrase": {"secretKeyRef": {"name": "n", "key": "k"}},
                    },
                    "sasl": {"mechanism": "plain", "username": SECRET, "password": SECRET},
                },
            },
            {"id": "rest", "rest": {"host": "h", "headers": {"A": SECRET}}},
        ],
        "persistence": {
            "type": "rest",
            "configurations": {"endpoint": "h", "headers": {"A": SECRET}, "tls": {"ca": SECRET}, "port": None},
        },
        "template": {"env": [{"name": "A", "value": SECRET}]},
    },
    "status": {"conditions": []},
}


def models(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    for each in [model, *_nested(model)]:
        if each.__name__ not in seen:
            seen[each.__name__] = each
            models(each, seen)
    return seen


def _nested(annotated: Any) -> list[type[BaseModel]]:
    if isinstance(annotated, type) and issubclass(annotated, BaseModel):
        return [found for field in annotated.model_fields.values() for found in _of(field.annotation)]
    return []


def _of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _of(part)]


def test_every_field_has_a_description() -> None:
    found = models(FlowMachine, {})
    assert {"State", "Sasl", "SecretKey", "InternalTopics", "Hook", "Metadata"} <= found.keys()
    bare = [
        f"{name}.{field}"
        for name, model in found.items()
        for field, info in model.model_fields.items()
        if not info.description
    ]
    assert bare == []


def test_every_pattern_has_a_sentence() -> None:
    def patterns(node: object) -> set[str]:
        if isinstance(node, list):
            return {found for item in node for found in patterns(item)}
        if not isinstance(node, dict):
            return set()
        own = {node["pattern"]} if isinstance(node.get("pattern"), str) else set()
        return own | {found for item in node.values() for found in patterns(item)}

    assert patterns(FlowMachine.model_json_schema()) <= PATTERN_MESSAGES.keys()


def test_secrets_are_in_no_text_about_a_resource() -> None:
    resource = load_document(DOCUMENT, "x")
    assert SECRET not in repr(resource)
    assert SECRET not in str(resource)
    assert SECRET not in str(dump_document(resource, reveal_secrets=False))
    assert SECRET not in str(resource.model_dump())


def test_a_revealing_dump_is_complete() -> None:
    resource = load_document(DOCUMENT, "x")
    document = dump_document(resource, reveal_secrets=True)
    assert FlowMachine.model_validate(document) == resource
    assert document["spec"]["persistence"] == DOCUMENT["spec"]["persistence"]  # type: ignore[index]


def test_null_is_as_good_as_absent() -> None:
    assert load_document(DOCUMENT, "x").spec.machine.states[0].description is None
    assert load_document({**DOCUMENT, "spec": {**DOCUMENT["spec"], "settings": None}}, "x").spec.settings == Settings()


def test_partitioners_are_those_of_the_core() -> None:
    resource = load_document(
        {**DOCUMENT, "spec": {**DOCUMENT["spec"], "settings": {"alignPartitioners": [*PARTITIONERS]}}}, "x"
    )
    assert resource.spec.settings.align_partitioners == tuple(PARTITIONERS)
    assert Settings().align_partitioners == ("java", "kafkajs-legacy")


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1h", 3_600_000), ("30m", 1_800_000), ("7d", 604_800_000), ("1h30m", 5_400_000), ("5s", 5000), ("5ms", 5)],
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms
    assert Retention(finished=text).finished_ms == ms
