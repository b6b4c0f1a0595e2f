"""Sagas of real engines: counted in the status, held when their state is gone, going on when it is back.

The test plays the kubelet of one pod: it runs `flowmachine` on an address of its own with the ConfigMap that the pod
mounts, and starts it anew when the pod is replaced.
"""

import asyncio
import json
import random
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dev.engine_process import EngineProcess
from flowmachine_operator.kinds import CONFIG_MAP, POD
from tests.support.kafka import KafkaBroker, produce
from tests.support.operator import Lab, flow_machine, topics_for, two_states, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]

PORT = 8080


class Kubelet:
    """Runs the one pod of a machine as a process."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        self._lab = lab
        self._folder = folder
        self._pod = ""
        self.engine: EngineProcess | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pods = await self._lab.api.list(POD.path(self._lab.namespace))
            living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            if living and living[0]["metadata"]["name"] != self._pod:
                await self._replace(living[0])
            await asyncio.sleep(0.2)

    async def _replace(self, pod: dict[str, Any]) -> None:
        await self.stop()
        (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "config")
        config_map = await self._lab.api.get(CONFIG_MAP.path(self._lab.namespace, volume["configMap"]["name"]))
        assert config_map is not None
        name = pod["metadata"]["name"]
        file = self._folder / f"{name}.json"
        file.write_text(config_map["data"]["flowmachine.json"], "utf-8")
        engine = EngineProcess(file, "--http", f"{self.address}:{PORT}", "--data-dir", str(self._folder))
        await asyncio.to_thread(engine.start)
        self.engine, self._pod = engine, name
        running = {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": kind, "status": "True"} for kind in ("ContainersReady", "Ready")],
        }
        await self._lab.api.patch(POD.path(self._lab.namespace, name, "status"), {"status": running})

    async def stop(self) -> None:
        """End the engine in order."""
        if self.engine is not None:
            await asyncio.to_thread(self.engine.terminate)
            self.engine = None


def create_saga(url: str) -> str:
    body = json.dumps({"associatedEntityId": "order", "metadata": {}}).encode()
    request = urllib.request.Request(f"{url}/saga", body, {"Content-Type": "application/json"})  # noqa: S310 - our engine
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - our engine
        answer: dict[str, str] = json.loads(response.read())
    return answer["sagaId"]


async def test_sagas_are_counted_held_and_go_on(lab: Lab, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    await lab.start_operator()
    lab.holds_back.add("orders")  # its pods are real
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, scaling={"replicas": 1})
    await lab.apply(manifest)
    kubelet = Kubelet(lab, tmp_path)
    working = asyncio.create_task(kubelet.run())

    async def until_sagas(**counts: int) -> None:
        async def look() -> bool:
            machine = await lab.machine("orders") or {}
            found = machine.get("status", {}).get("sagas", {})
            return all(found.get(name) == count for name, count in counts.items())

        await until(look, f"the status counts {counts}")

    try:
        await lab.until_ready("orders")
        assert kubelet.engine is not None
        sagas = [await asyncio.to_thread(create_saga, kubelet.engine.url) for _ in range(3)]
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
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await kubelet.stop()
