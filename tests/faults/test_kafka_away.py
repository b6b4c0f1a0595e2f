"""Kafka away, topics missing, rights missing: the engine waits, says so, loses nothing, and goes on by itself."""

import asyncio
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from dev.engine_process import EngineProcess
from dev.kafka import KafkaCluster
from tests.support.engines import assert_audit_is_clean
from tests.support.eventually import eventually
from tests.support.kafka import StartCluster, create_topics, read_all
from tests.support.orders import FinalStates, assert_exactly_once, create_sagas, prepare_orders, running_participants
from tests.support.ready import problems

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def post_saga(engine: EngineProcess) -> tuple[int, str | None]:
    request = urllib.request.Request(  # noqa: S310 - our own child
        f"{engine.url}/saga",
        data=b'{"associatedEntityId": "order-1", "metadata": {}}',
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - our own child
            return response.status, None
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After")


@pytest.mark.timeout(300)
async def test_the_engine_waits_for_a_broker_that_is_away_at_start(kafka_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = kafka_cluster()
    orders = await prepare_orders(cluster.bootstrap, tmp_path)
    await asyncio.to_thread(cluster.kill, 1)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start, is_ready=False)
        await eventually(lambda: cluster.bootstrap in problems(engine), "not ready, and the broker is named")
        status, retry_after = await asyncio.to_thread(post_saga, engine)
        assert (status, retry_after is not None) == (503, True)
        await asyncio.to_thread(cluster.start_broker, 1)
        await eventually(engine.is_ready, "ready by itself", timeout_seconds=60)
    finally:
        engine.close()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("is_long", [False, True], ids=["for a moment", "until partitions give up"])
async def test_nothing_is_lost_when_the_broker_goes_away_and_comes_back(
    kafka_cluster: StartCluster, tmp_path: Path, is_long: bool
) -> None:
    cluster = kafka_cluster()
    orders = await prepare_orders(cluster.bootstrap, tmp_path)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            ids = await create_sagas(orders, 3000)
            await asyncio.to_thread(cluster.kill, 1)
            await eventually(lambda: not engine.is_ready(), "not ready while the broker is away", timeout_seconds=60)
            status, retry_after = await asyncio.to_thread(post_saga, engine)
            assert (status, retry_after is not None) == (503, True)
            if is_long:
                gave_up = "partition stopped, will start again"
                await eventually(lambda: gave_up in engine.log_path.read_text(), gave_up, timeout_seconds=90)
            await asyncio.to_thread(cluster.start_broker, 1)
            finals = FinalStates(orders)
            await finals.wait_for(ids, timeout_seconds=200)
            await eventually(engine.is_ready, "ready again", timeout_seconds=60)
            assert engine.is_running
    finally:
        engine.close()
    await assert_exactly_once(orders, ids, finals, may_have_more=True)  # the saga of the 503 may have come to be
    sagas = {record.key for record in await read_all(orders.bootstrap, orders.sagas)}
    await assert_audit_is_clean(orders.file, len(sagas))


@pytest.mark.timeout(240)
async def test_a_missing_topic_is_named_and_waited_for(kafka_broker: KafkaCluster, tmp_path: Path) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, create=False)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start, is_ready=False)
        await eventually(
            lambda: orders.events in problems(engine) and orders.commands in problems(engine), "both topics are named"
        )
        await create_topics(kafka_broker.bootstrap, {orders.events: 2, orders.commands: 2})
        await eventually(engine.is_ready, "ready once they exist", timeout_seconds=60)
    finally:
        engine.close()


@pytest.mark.timeout(240)
async def test_missing_rights_are_named_and_waited_for(kafka_secure_broker: KafkaCluster, tmp_path: Path) -> None:
    cluster = kafka_secure_broker
    channel = {
        "brokers": [cluster.bootstrap_of("SASL_PLAINTEXT")],
        "sasl": {"mechanism": "scram-sha-256", "username": "alice", "password": "alice-secret"},
    }
    orders = await prepare_orders(cluster.bootstrap, tmp_path, channel=channel)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start, is_ready=False)
        await eventually(lambda: "may not" in problems(engine), "the missing right is named", timeout_seconds=60)
        assert "alice-secret" not in engine.log_path.read_text()
        for resource, name in (("--topic", "*"), ("--group", "*"), ("--transactional-id", "*")):
            await asyncio.to_thread(cluster.grant, "alice", "--operation", "All", resource, name)
        await asyncio.to_thread(cluster.grant, "alice", "--operation", "All", "--cluster")
        await eventually(engine.is_ready, "ready once it may", timeout_seconds=60)
    finally:
        engine.close()


@pytest.mark.timeout(240)
async def test_wrong_credentials_are_said_without_showing_them(
    kafka_secure_broker: KafkaCluster, tmp_path: Path
) -> None:
    cluster = kafka_secure_broker
    channel = {
        "brokers": [cluster.bootstrap_of("SASL_PLAINTEXT")],
        "sasl": {"mechanism": "scram-sha-512", "username": "alice", "password": "not-the-password"},
    }
    orders = await prepare_orders(cluster.bootstrap, tmp_path, channel=channel)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start, is_ready=False)
        await eventually(lambda: "credentials" in problems(engine), "the credentials are named", timeout_seconds=60)
        assert "not-the-password" not in engine.log_path.read_text() + problems(engine)
    finally:
        engine.close()
