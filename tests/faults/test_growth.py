"""Engines that come and go in storms, ten times the load at once, partitions added: all while sagas run."""

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import NewPartitions

from dev.engine_process import EngineProcess
from tests.support.engines import assert_audit_is_clean, engines
from tests.support.kafka import KafkaBroker, admin_client
from tests.support.orders import (
    DELIVERIES,
    FinalStates,
    assert_exactly_once,
    assert_without_transactions,
    create_sagas,
    prepare_orders,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

STORM = (1, 4, 2, 4)
STORM_SECONDS = 5.0
SAGAS_PER_STEP = 800
TRICKLE, SPIKE = 100, 1000
SPIKES = 3


async def resize(made: list[EngineProcess], count: int) -> None:
    """Let so many engines run: start what is missing without waiting, stop what is too much in order."""
    for number, engine in enumerate(made):
        if number < count and not engine.is_running:
            await asyncio.to_thread(engine.start, is_ready=False)
        elif number >= count and engine.is_running:
            assert await asyncio.to_thread(engine.terminate) == 0


@pytest.mark.timeout(400)
async def test_a_storm_of_rebalances_loses_nothing(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    finals = FinalStates(orders)
    with engines(orders.file, max(STORM)) as made:
        await asyncio.to_thread(made[0].start)
        async with running_participants(orders):
            ids: list[str] = []
            for step, count in enumerate(STORM):
                await resize(made, count)
                ids += await create_sagas(orders, SAGAS_PER_STEP, prefix=f"step-{step}")
                await asyncio.sleep(STORM_SECONDS)  # the fault itself: how often it strikes
            await finals.wait_for(ids, timeout_seconds=120)
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_spikes_of_load_and_added_partitions_lose_nothing(
    kafka_broker: KafkaBroker, tmp_path: Path, delivery: str
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, event_partitions=2, **DELIVERIES[delivery])
    finals = FinalStates(orders)
    with engines(orders.file, 1) as (engine,):
        await asyncio.to_thread(engine.start)
        async with running_participants(orders, metadata_max_age_ms=1000):
            ids: list[str] = []
            for spike in range(SPIKES):
                ids += await create_sagas(orders, TRICKLE, prefix=f"trickle-{spike}", partitions=2)
                ids += await create_sagas(orders, SPIKE, prefix=f"spike-{spike}", partitions=2)
                async with admin_client(orders.bootstrap) as admin:  # 3, 4, 5: no multiple of the homes' number
                    await admin.create_partitions({orders.events: NewPartitions(3 + spike)})
            await finals.wait_for(ids, timeout_seconds=150)
    if delivery == "atLeastOnce":
        await assert_without_transactions(orders)
    await assert_exactly_once(orders, ids, finals, drops_repeats=True)
    await assert_audit_is_clean(orders.file, len(ids))
