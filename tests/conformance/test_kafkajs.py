"""Services in Node.js on KafkaJS, as teams have them, run the order example with our engine on a real broker.

KafkaJS 1.16 is what Flow Manager's own client is built on: it puts most keys into other partitions than Java does.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.engine_process import EngineProcess
from dev.node.provision import find_node
from flowmachine.core.partitioners import java_murmur2
from tests.support.kafka import KafkaBroker, create_topics, read_all, unique_name

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SERVICES = Path(__file__).with_name("participants") / "orders.js"
SECONDS_MAX = 90.0
ORDERS = 12
COMMANDS = ["executePayment", "prepareOrder", "deliverOrder"]
EVENTS = ["__created__", "paymentExecuted", "orderPrepared", "orderDelivered"]


@asynccontextmanager
async def running_services(packages: Path, *arguments: str) -> AsyncGenerator[None]:
    """The services, once they have joined their group; ended in order."""
    process = await asyncio.create_subprocess_exec(
        *(find_node(), str(SERVICES), *arguments),
        env={**os.environ, "NODE_PACKAGES": str(packages), "KAFKAJS_NO_PARTITIONER_WARNING": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            assert await process.stdout.readline() == b"joined\n"
        yield
        process.terminate()
        async with asyncio.timeout(SECONDS_MAX):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def write_saga_json(folder: Path, name: str, bootstrap: str) -> Path:
    """Flow Manager's configuration of the example, with topics of its own."""
    document: dict[str, Any] = json.loads((ROOT / "examples/flow-manager/saga.json").read_text("utf-8"))
    (channel,) = document["communicationProtocols"]
    channel["configurations"] |= {
        "brokers": bootstrap,
        "inputTopics": [f"{name}-events"],
        "outputTopics": [f"{name}-commands"],
        "consumerGroup": name,
    }
    document.pop("persistencyManagement", None)
    file = folder / "saga.json"
    file.write_text(json.dumps(document), "utf-8")
    return file


async def finished(session: aiohttp.ClientSession, url: str, saga_id: str) -> dict[str, Any]:
    while True:
        async with session.get(f"{url}/sagas/{saga_id}") as response:
            assert response.status == HTTPStatus.OK
            saga: dict[str, Any] = await response.json()
        if saga["isFinal"]:
            return saga
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("package", ["kafkajs-1", "kafkajs"])
async def test_services_on_kafkajs_run_the_order_example(
    package: str, kafka_broker: KafkaBroker, node_packages: Path, tmp_path: Path
) -> None:
    name = unique_name("orders")
    topics = (f"{name}-commands", f"{name}-events")
    await create_topics(kafka_broker.bootstrap, dict.fromkeys(topics, 3))
    engine = EngineProcess(
        write_saga_json(tmp_path, name, kafka_broker.bootstrap), "--name", name, log_path=tmp_path / "engine.log"
    )
    try:
        await asyncio.to_thread(engine.start)
        async with (
            running_services(node_packages, package, kafka_broker.bootstrap, *topics, f"{name}-services"),
            aiohttp.ClientSession() as session,
            asyncio.timeout(SECONDS_MAX),
        ):
            sagas = []
            for number in range(ORDERS):
                body = {"associatedEntityId": f"order-{number}", "metadata": {"total": number}}
                async with session.post(f"{engine.url}/saga", json=body) as response:
                    assert response.status == HTTPStatus.OK
                    sagas.append((await response.json())["sagaId"])
            done = [await finished(session, engine.url, saga_id) for saga_id in sagas]
    finally:
        engine.close()
    for number, saga in enumerate(done):
        receipt = f"payment of {number}"
        assert saga["metadata"] == {
            "total": number,
            "paymentId": receipt,
            "parcel": {"weight": 3},
            "receipt": receipt,
        }
        assert [each["event"] for each in saga["history"]["events"]] == EVENTS
    commands: dict[str, list[str]] = {saga_id: [] for saga_id in sagas}
    for record in await read_all(kafka_broker.bootstrap, topics[0]):
        commands[(record.key or b"").decode()].append(json.loads(record.value or b"")["messageLabel"])
    assert commands == {saga_id: COMMANDS for saga_id in sagas}
    partitions = {
        record.partition == java_murmur2(record.key or b"", 3)
        for record in await read_all(kafka_broker.bootstrap, topics[1])
    }
    assert partitions == {True}, "ids are aligned, so KafkaJS's partitioner agrees with Java's about them"
