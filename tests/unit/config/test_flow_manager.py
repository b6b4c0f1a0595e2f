"""A Flow Manager `saga.json` runs here as it is, and its problems carry its own paths."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from flowmachine.config.load import load_document, load_text
from flowmachine.config.resource import FlowMachine, SecretFile, dump_document
from flowmachine.errors import ConfigurationError

SAGA: dict[str, Any] = {
    "machineDefinition": {
        "initialState": "paying",
        "creationEvent": "__created__",
        "states": [
            {
                "id": "paying",
                "isFinal": False,
                "businessStateId": 0,
                "outputCommand": {"channel": "kafka", "label": "executePayment"},
                "sideEffects": [{"channel": "http", "label": "notify"}],
                "outgoingTransitions": [{"inputEvent": "paymentExecuted", "targetState": "paid", "businessEventId": 0}],
            },
            {"id": "paid", "isFinal": True, "businessStateId": 1},
        ],
        "businessStates": [{"id": 0, "description": "open"}, {"id": 1, "description": "paid"}],
        "businessEvents": [{"id": 0, "description": "money came"}],
    },
    "communicationProtocols": [
        {
            "id": "kafka",
            "type": "kafka",
            "configurations": {
                "brokers": "a:1, b:2",
                "inputTopics": ["events"],
                "outputTopics": ["commands"],
                "consumerGroup": "orders",
                "authenticationProperties": {
                    "ssl": {"ca": {"type": "file", "path": "/ca.pem"}},
                    "sasl": {"mechanism": "SCRAM-SHA-256", "username": "u", "password": "hunter2"},
                },
            },
        },
        {
            "id": "http",
            "type": "rest",
            "configurations": {
                "protocol": "http",
                "endpoint": "notifier",
                "port": "8080",
                "path": "/notify",
                "method": "PUT",
                "headers": {"X-Key": {"type": "file", "path": "/key"}, "X-Other": "hunter2"},
            },
        },
    ],
    "persistencyManagement": {
        "type": "mongo",
        "configurations": {"connectionUri": {"type": "file", "path": "/uri"}, "collectionName": "sagas"},
    },
    "settings": {"deepMergeMetadata": {"enabled": True}, "throwOnUnexpectedEvents": True},
}


def load(document: object, **arguments: Any) -> FlowMachine:
    return load_text(json.dumps(document), "saga.json", **arguments)


def problems_of(change: Callable[[dict[str, Any]], object], **arguments: Any) -> list[tuple[str, str]]:
    document = copy.deepcopy(SAGA)
    change(document)
    with pytest.raises(ConfigurationError) as caught:
        load(document, **arguments)
    assert "hunter2" not in str(caught.value)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_a_saga_json_becomes_the_same_machine() -> None:
    resource = load(SAGA, name="orders", saga_id_prefix="order-")
    assert dump_document(resource, reveal_secrets=True) == {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {"name": "orders"},
        "spec": {
            "machine": {key: value for key, value in SAGA["machineDefinition"].items() if key != "creationEvent"},
            "channels": [
                {
                    "id": "kafka",
                    "kafka": {
                        "brokers": ["a:1", "b:2"],
                        "inputTopics": ["events"],
                        "outputTopics": ["commands"],
                        "consumerGroup": "orders",
                        "tls": {"ca": {"file": "/ca.pem"}},
                        "sasl": {"mechanism": "scram-sha-256", "username": "u", "password": "hunter2"},
                    },
                },
                {
                    "id": "http",
                    "rest": {
                        "host": "notifier",
                        "port": 8080,
                        "path": "/notify",
                        "method": "PUT",
                        "headers": {"X-Key": {"file": "/key"}, "X-Other": "hunter2"},
                    },
                },
            ],
            "persistence": {
                "type": "mongo",
                "configurations": {"connectionUri": {"file": "/uri"}, "collectionName": "sagas"},
            },
            "settings": {
                "deepMergeMetadata": {"enabled": True},
                "throwOnUnexpectedEvents": True,
                "sagaIdPrefix": "order-",
            },
        },
    }


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("orders", "orders"),
        ("Shop_Orders.v2 ", "shop-orders-v2"),
        ("x" * 62 + "-y", "x" * 62),
        ("--", "saga"),
        (None, "saga"),
    ],
)
def test_a_saga_json_is_named_after_its_consumer_group(group: str | None, name: str) -> None:
    document = copy.deepcopy(SAGA)
    kafka = document["communicationProtocols"][0]["configurations"]
    kafka |= {"consumerGroup": group, "inputTopics": ["events"] if group else []}
    assert load(document).metadata.name == name
    assert load(document, name="other").metadata.name == "other"
    assert load(document).spec.settings.saga_id_prefix == ""


@pytest.mark.parametrize("ssl", [True, False])
def test_ssl_may_be_a_switch(ssl: bool) -> None:
    document = copy.deepcopy(SAGA)
    document["communicationProtocols"][0]["configurations"]["authenticationProperties"]["ssl"] = ssl
    kafka = load(document).spec.channels[0].kafka
    assert kafka is not None
    assert kafka.tls is not None
    assert kafka.tls.enabled is ssl


def test_brokers_may_stand_in_a_file() -> None:
    document = copy.deepcopy(SAGA)
    document["communicationProtocols"][0]["configurations"]["brokers"] = {"type": "file", "path": "/brokers"}
    kafka = load(document).spec.channels[0].kafka
    assert kafka is not None
    assert kafka.brokers == SecretFile(file="/brokers")


def test_persistence_and_settings_may_be_absent() -> None:
    document = {key: SAGA[key] for key in ("machineDefinition", "communicationProtocols")}
    resource = load_document(document, "saga.json")
    assert resource.spec.persistence.type == "none"
    assert load_document({**document, "settings": None}, "x", saga_id_prefix="p").spec.settings.saga_id_prefix == "p"


KAFKA = "communicationProtocols[0].configurations"
REST = "communicationProtocols[1].configurations"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda it: it["machineDefinition"]["states"][0]["outgoingTransitions"][0].update(targetState="payd"),
            (
                "machineDefinition.states[0].outgoingTransitions[0].targetState",
                "'payd' is not a state; did you mean 'paid'?",
            ),
        ),
        (
            lambda it: it["machineDefinition"]["states"][0]["outputCommand"].update(
                hook={"type": "file", "content": "%", "encoding": "base64"}
            ),
            (
                "machineDefinition.states[0].outputCommand.hook.content",
                "is not base64 of a text in UTF-8",
            ),
        ),
        (lambda it: it.update(machineDefinition=5), ("machineDefinition", "must be a mapping of fields, not a number")),
        (lambda it: it.pop("communicationProtocols"), ("communicationProtocols", "is required")),
        (lambda it: it.update(communicationProtocols={}), ("communicationProtocols", "must be a list, not a mapping")),
        (lambda it: it.update(setings={}), ("setings", "'setings' is not a field here; did you mean 'settings'?")),
        (
            lambda it: it["communicationProtocols"][0].update(type="kafak"),
            (
                "communicationProtocols[0].type",
                "'kafak' is not allowed here: must be one of 'kafka', 'rest'; did you mean 'kafka'?",
            ),
        ),
        (
            lambda it: it["communicationProtocols"][0].update(type=["kafka"]),
            ("communicationProtocols[0].type", "must be one of 'kafka', 'rest'"),
        ),
        (
            lambda it: it["communicationProtocols"][0].pop("type"),
            ("communicationProtocols[0].type", "is required: 'kafka' or 'rest'"),
        ),
        (lambda it: it["communicationProtocols"][0].pop("configurations"), (KAFKA, "is required")),
        (lambda it: it["communicationProtocols"][0].update(configurations=[]), (KAFKA, "must be a mapping of fields")),
        (
            lambda it: it["communicationProtocols"].__setitem__(0, "hunter2"),
            ("communicationProtocols[0]", "must be a mapping of fields, not a text"),
        ),
        (
            lambda it: it["communicationProtocols"][0].update(idd=1),
            ("communicationProtocols[0].idd", "'idd' is not a field here; did you mean 'id'?"),
        ),
        (
            lambda it: it["communicationProtocols"][0]["configurations"].update(outputTopic=1),
            (f"{KAFKA}.outputTopic", "'outputTopic' is not a field here; did you mean 'outputTopics'?"),
        ),
        (
            lambda it: it["communicationProtocols"][0]["configurations"].update(authenticationProperties=5),
            (f"{KAFKA}.authenticationProperties", "must be a mapping of fields"),
        ),
        (
            lambda it: it["communicationProtocols"][0]["configurations"]["authenticationProperties"].update(sals={}),
            (
                f"{KAFKA}.authenticationProperties.sals",
                "'sals' is not a field here; did you mean 'sasl'?",
            ),
        ),
        (
            lambda it: it["communicationProtocols"][0]["configurations"]["authenticationProperties"]["sasl"].pop(
                "password"
            ),
            (f"{KAFKA}.authenticationProperties.sasl.password", "is required for this mechanism"),
        ),
        (
            lambda it: it["communicationProtocols"][0]["configurations"]["authenticationProperties"]["ssl"][
                "ca"
            ].update(path=5),
            (f"{KAFKA}.authenticationProperties.ssl.ca.path", "must be a text, not a number"),
        ),
        (
            lambda it: it["communicationProtocols"][1]["configurations"].pop("endpoint"),
            (f"{REST}.endpoint", "is required"),
        ),
        (
            lambda it: it["communicationProtocols"][1]["configurations"].update(host="x"),
            (f"{REST}.host", "'host' is not a field here"),
        ),
        (
            lambda it: it["communicationProtocols"][1]["configurations"].update(port="eighty"),
            (f"{REST}.port", "must be a whole number, not a text"),
        ),
        (
            lambda it: it["communicationProtocols"][1]["configurations"]["headers"]["X-Key"].update(path=["hunter2"]),
            (f"{REST}.headers.X-Key.path", "must be a text, not a list"),
        ),
        (
            lambda it: it["persistencyManagement"].update(type="mongodb"),
            (
                "persistencyManagement.type",
                "'mongodb' is not allowed here: must be one of 'none', 'postgres', 'mongo', 'rest', 'crud', "
                "'kubernetes'; did you mean 'mongo'?",
            ),
        ),
        (lambda it: it.update(settings=[]), ("settings", "must be a mapping of fields, not a list")),
        (
            lambda it: it["settings"].update(throwOnUnexpectedEvents="x"),
            ("settings.throwOnUnexpectedEvents", "must be true or false, not a text"),
        ),
    ],
)
def test_problems_carry_the_paths_of_the_saga_json(
    change: Callable[[dict[str, Any]], object], problem: tuple[str, str]
) -> None:
    problems = problems_of(change)
    assert problem in problems
    assert [other for other in problems if other[0].startswith(problem[0])] == [problem]


def test_problems_of_arguments_are_named_after_them() -> None:
    name_problem = "must consist of lower-case letters, digits and '-', and begin and end with a letter or a digit"
    assert problems_of(lambda _: None, name="No Name") == [("name", name_problem)]
    assert problems_of(lambda _: None, saga_id_prefix="\n") == [("SAGA_ID_PREFIX", "must not hold control characters")]
