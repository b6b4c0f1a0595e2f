"""Large, long and many: a machine of the maximal size, names at their limit, fifty machines at once."""

import asyncio
import json
from typing import Any

import pytest

from flowmachine_operator.kinds import FLOW_MACHINE
from tests.support.flow_machines import flow_machine, topics_for
from tests.support.kafka import KafkaBroker, create_topics
from tests.support.operator import Lab, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]

STATES, TRANSITIONS, ID_LENGTH = 200, 16, 63
MACHINES = 50
MEMORY_MIB_MAX = 400
"""Far above what it takes; a leak or a cache of all specs would be more."""


def long_id(kind: str, number: int) -> str:
    return f"{kind}{number:03}".ljust(ID_LENGTH, "x")


def largest_states() -> list[dict[str, Any]]:
    """Each state leads to sixteen others; descriptions and ids as long as they may be, within the limits of etcd."""
    states: list[dict[str, Any]] = []
    for number in range(STATES):
        transitions = [
            {
                "inputEvent": long_id("event", index),
                "targetState": long_id("state", (number + index + 1) % STATES),
            }
            for index in range(TRANSITIONS)
        ]
        command = {"channel": "services", "label": long_id("command", number)}
        state = {"id": long_id("state", number), "isFinal": False, "businessStateId": 1, "outputCommand": command}
        states.append({**state, "outgoingTransitions": transitions})
    states.append({"id": "end", "isFinal": True, "businessStateId": 1})
    states[0]["outgoingTransitions"][0]["targetState"] = "end"
    del states[-2]
    return states


async def test_a_machine_of_the_maximal_size(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    states = largest_states()
    assert len(states) == STATES
    target = long_id("state", STATES - 1)
    for state in states:
        for transition in state.get("outgoingTransitions", []):
            if transition["targetState"] == target:
                transition["targetState"] = "end"
    manifest = flow_machine("large", kafka_broker.bootstrap, prefix=prefix, states=states)
    manifest["spec"]["machine"]["initialState"] = long_id("state", 0)
    assert len(json.dumps(manifest)) > 385 * 1024
    await lab.apply(manifest)
    first = await lab.until_ready("large")
    states[0]["description"] = "changed"
    states[0]["outputCommand"]["label"] = "another"
    await lab.apply(manifest)
    second = await lab.until_ready("large")
    assert second["status"]["revision"] != first["status"]["revision"]
    await lab.run_kubectl("delete", "fm", "large", "--timeout=30s")


async def test_names_at_their_limit(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    names = ["n" * 63, f"{'n' * 62}m"]
    for name in names:
        prefix = await topics_for(kafka_broker.bootstrap)
        await lab.apply(flow_machine(name, kafka_broker.bootstrap, prefix=prefix))
    for name in names:
        await lab.until_ready(name)
    found = json.loads(await lab.run_kubectl("get", "deploy,svc", "-o", "json"))["items"]
    assert len({(item["kind"], item["metadata"]["name"]) for item in found}) == 4
    for name in names:
        await lab.run_kubectl("delete", "fm", name, "--timeout=20s")


async def test_fifty_machines_at_once(lab: Lab, kafka_broker: KafkaBroker) -> None:
    operator = await lab.start_operator()
    before = operator.memory_mib()
    prefix = await topics_for(kafka_broker.bootstrap, partitions=1)
    names = [f"m{number}" for number in range(MACHINES)]
    topics = {f"{prefix}-{name}-{kind}": 1 for name in names for kind in ("events", "commands")}
    await create_topics(kafka_broker.bootstrap, topics)
    started = asyncio.get_running_loop().time()
    await lab.apply(*(flow_machine(name, kafka_broker.bootstrap, prefix=f"{prefix}-{name}") for name in names))

    async def are_ready() -> bool:
        machines = await lab.api.list(FLOW_MACHINE.path(lab.namespace))
        conditions = [item for machine in machines for item in machine.get("status", {}).get("conditions", [])]
        return len([item for item in conditions if (item["type"], item["status"]) == ("Ready", "True")]) == MACHINES

    await until(are_ready, "all are Ready", seconds=100)
    took, memory = asyncio.get_running_loop().time() - started, operator.memory_mib()
    print(f"{MACHINES} machines Ready after {took:.0f} s; memory {before:.0f} -> {memory:.0f} MiB")  # noqa: T201
    assert memory < MEMORY_MIB_MAX

    async def are_counted() -> bool:
        return operator.metrics()['flowmachine_operator_machines{reason="Running"}'] == MACHINES

    await until(are_counted, "the operator counts them")
