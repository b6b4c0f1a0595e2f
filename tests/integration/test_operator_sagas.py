"""Sagas of real engines: counted in the status, held when their state is gone, going on when it is back."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.flow_machines import flow_machine, topics_for, two_states
from tests.support.kafka import KafkaBroker, produce
from tests.support.kubelet import create_saga, running_kubelet
from tests.support.operator import Lab, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


async def test_sagas_are_counted_held_and_go_on(lab: Lab, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, scaling={"replicas": 1})
    await lab.apply(manifest)

    async def until_sagas(**counts: int) -> None:
        async def look() -> bool:
            machine = await lab.machine("orders") or {}
            found = machine.get("status", {}).get("sagas", {})
            return all(found.get(name) == count for name, count in counts.items())

        await until(look, f"the status counts {counts}")

    async with running_kubelet(lab, "orders", tmp_path) as kubelet:
        await lab.until_ready("orders")
        (pod,) = kubelet.pods.values()
        sagas = [await asyncio.to_thread(create_saga, pod.url) for _ in range(3)]
        await until_sagas(active=3, finished=0, held=0)

        manifest["spec"]["machine"]["states"] = two_states(first="opened")  # `created`, where they are, is gone
        manifest["spec"]["machine"]["initialState"] = "opened"
        await lab.apply(manifest)
        await until_sagas(active=3, held=3)
        await lab.until_ready("orders")
        valid = await lab.condition("orders", "MachineValid")
        assert (valid["status"], valid["reason"]) == ("True", "SagasHeld")
        assert "3 sagas wait in states that the machine no longer has" in valid["message"]
        event = json.dumps({"messageLabel": "paymentExecuted", "messagePayload": {}}).encode()
        records = [(saga.encode(), event, None, ()) for saga in sagas]
        await produce(kafka_broker.bootstrap, f"{prefix}-events", records)

        manifest["spec"]["machine"]["states"] = two_states()
        manifest["spec"]["machine"]["initialState"] = "created"
        await lab.apply(manifest)
        await until_sagas(active=0, finished=3, held=0)
        await lab.until_condition("orders", "MachineValid", status="True", reason="Valid")
