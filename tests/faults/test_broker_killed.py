"""kill -9 of one broker of three after the other, while sagas run: leaders move, nothing is lost or doubled."""

import asyncio
from pathlib import Path

import pytest

from dev.engine_process import EngineProcess
from tests.support.engines import assert_audit_is_clean
from tests.support.kafka import StartCluster
from tests.support.orders import FinalStates, assert_exactly_once, create_sagas, prepare_orders, running_participants

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SAGAS_PER_BROKER = 1500


@pytest.mark.timeout(400)
async def test_nothing_is_lost_when_one_broker_of_three_is_killed(kafka_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = kafka_cluster(brokers=3)
    brokers = cluster.bootstrap.split(",")
    orders = await prepare_orders(cluster.bootstrap, tmp_path, channel={"brokers": brokers})
    finals = FinalStates(orders)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            ids: list[str] = []
            for victim in (1, 2):
                ids += await create_sagas(orders, SAGAS_PER_BROKER, prefix=f"broker-{victim}")
                await asyncio.to_thread(cluster.kill, victim)
                ids += await create_sagas(orders, SAGAS_PER_BROKER // 3, prefix=f"without-{victim}")
                await asyncio.to_thread(cluster.start_broker, victim)
            await finals.wait_for(ids, timeout_seconds=200)
    finally:
        engine.close()
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))
