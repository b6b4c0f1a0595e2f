"""Small FlowMachines for tests of the operator, and topics for them."""

from typing import Any

from tests.support.kafka import create_topics, unique_name

Manifest = dict[str, Any]


def flow_machine(
    name: str, brokers: str, *, prefix: str, states: list[Manifest] | None = None, **spec: Any
) -> Manifest:
    """A FlowMachine of two states on the topics `{prefix}-events` and `{prefix}-commands`."""
    return {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {"name": name},
        "spec": {
            "machine": {
                "initialState": "created",
                "states": states or two_states(),
                "businessStates": [{"id": 1}],
            },
            "channels": [
                {
                    "id": "services",
                    "kafka": {
                        "brokers": brokers.split(","),
                        "inputTopics": [f"{prefix}-events"],
                        "outputTopics": [f"{prefix}-commands"],
                        "consumerGroup": prefix,
                    },
                }
            ],
            **spec,
        },
    }


def two_states(*, first: str = "created", last: str = "paid") -> list[Manifest]:
    """States of the smallest machine that does something."""
    return [
        {
            "id": first,
            "isFinal": False,
            "businessStateId": 1,
            "outputCommand": {"channel": "services", "label": "executePayment"},
            "outgoingTransitions": [{"inputEvent": "paymentExecuted", "targetState": last}],
        },
        {"id": last, "isFinal": True, "businessStateId": 1},
    ]


async def topics_for(bootstrap: str, *, partitions: int = 2, **client_options: Any) -> str:
    """Topics for one machine, empty; what their names begin with."""
    prefix = unique_name("orders")
    names = {f"{prefix}-events": partitions, f"{prefix}-commands": partitions}
    await create_topics(bootstrap, names, **client_options)
    return prefix
