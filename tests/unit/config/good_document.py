"""A FlowMachine without a mistake, and how to make some in it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from flowmachine.config.load import load_document
from flowmachine.errors import ConfigurationError

Change = Callable[[dict[str, Any]], object]

GOOD: dict[str, Any] = {
    "apiVersion": "flowmachine.io/v1alpha1",
    "kind": "FlowMachine",
    "metadata": {"name": "orders", "uid": "0000", "labels": {"team": "shop"}},
    "spec": {
        "machine": {
            "initialState": "paying",
            "states": [
                {
                    "id": "paying",
                    "isFinal": False,
                    "businessStateId": 1,
                    "outputCommand": {"channel": "services", "label": "executePayment"},
                    "sideEffects": [{"channel": "hook", "label": "notify"}],
                    "outgoingTransitions": [
                        {
                            "inputEvent": "paymentExecuted",
                            "targetState": "paid",
                            "businessEventId": "p",
                            "payloadValidationSchema": {"type": "object"},
                        },
                        {"inputEvent": "paymentFailed", "targetState": "failed"},
                    ],
                },
                {"id": "paid", "isFinal": True, "businessStateId": 2},
                {"id": "failed", "isFinal": True, "businessStateId": "x"},
            ],
            "businessStates": [{"id": 1, "description": "a"}, {"id": 2}, {"id": "x"}],
            "businessEvents": [{"id": "p", "description": "b"}],
        },
        "channels": [
            {
                "id": "services",
                "kafka": {
                    "brokers": ["a:1", "b:2"],
                    "inputTopics": ["events"],
                    "outputTopics": ["commands"],
                    "consumerGroup": "orders",
                    "sasl": {"mechanism": "plain", "username": "u", "password": "hunter2"},
                },
            },
            {"id": "hook", "rest": {"host": "h", "headers": {"X-Key": "hunter2"}}},
        ],
    },
}


def problems_of(document: object) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load_document(document, "orders.yaml")
    assert "hunter2" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def changed(*changes: Change) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    for change in changes:
        change(document)
    return document


def put(path: str, value: object) -> Change:
    """Put a value at a path such as `spec.machine.states.0.id`."""
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))

    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in parents:
            target = target[part]
        if isinstance(last, int) and last == len(target):
            target.append(value)
        else:
            target[last] = value

    return change


def drop(path: str) -> Change:
    """Remove the field at a path."""
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))

    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for part in parents:
            target = target[part]
        del target[last]

    return change
