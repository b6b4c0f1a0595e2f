"""kill -9 again and again, engines that join and leave: every saga completes, every command is there once."""

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from flowmachine.adapters.kafka.membership import SESSION_TIMEOUT_MS
from tests.support.engines import assert_audit_is_clean, engines, running_partitions
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker
from tests.support.kills import kill_and_restart
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

SAGAS = 100_000
SAGAS_PER_CHANGE = int(os.environ.get("FLOWMACHINE_TEST_SAGAS_PER_CHANGE", "2000"))
SMALL_SAGAS, SMALL_SECONDS = 1_000, 12
CHANGES = 8
"""How often an engine joins, leaves or dies while sagas run."""


@pytest.mark.timeout(900)
async def test_every_saga_completes_exactly_once_while_the_engine_is_killed(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    finals = FinalStates(orders)
    with engines(orders.file, 1) as (engine,):
        await asyncio.to_thread(engine.start)
        stop = asyncio.Event()
        async with running_participants(orders):
            killer = asyncio.create_task(kill_and_restart(engine, stop))
            ids = await create_sagas(orders, SAGAS)
            await finals.wait_for(ids, timeout_seconds=800)
            stop.set()
            assert await killer >= 3
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))


@pytest.mark.timeout(600)
async def test_sagas_are_exact_without_transactions_while_the_engine_is_killed(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    """Commands may come again after a kill, each with the id that it had."""
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, **DELIVERIES["atLeastOnce"])
    finals = FinalStates(orders)
    with engines(orders.file, 1) as (engine,):
        await asyncio.to_thread(engine.start)
        stop = asyncio.Event()
        async with running_participants(orders):
            killer = asyncio.create_task(kill_and_restart(engine, stop))
            ids: list[str] = []
            until = time.monotonic() + SMALL_SECONDS
            while time.monotonic() < until:
                ids += await create_sagas(orders, SMALL_SAGAS, prefix=f"saga-{len(ids)}")
                await finals.wait_for(ids, timeout_seconds=120)
            stop.set()
            assert await killer >= 2
    await assert_without_transactions(orders)
    await assert_exactly_once(orders, ids, finals, drops_repeats=True)
    await assert_audit_is_clean(orders.file, len(ids))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 4])
async def test_every_saga_completes_exactly_once_while_engines_join_and_leave(
    kafka_broker: KafkaBroker, tmp_path: Path, count: int
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    finals = FinalStates(orders)
    chance = random.Random(count)
    with engines(orders.file, count) as made:
        await asyncio.to_thread(made[0].start)
        stop = asyncio.Event()
        changes = 0

        async def shuffle() -> None:
            nonlocal changes
            while not stop.is_set():
                engine = chance.choice(made)
                if not engine.is_running:
                    await asyncio.to_thread(engine.start, is_ready=False)
                elif sum(other.is_running for other in made) > 1:
                    if chance.random() < 0.5:
                        engine.kill()
                    else:
                        assert await asyncio.to_thread(engine.terminate) == 0
                changes += 1
                await asyncio.sleep(chance.uniform(0.5, 2.5))  # the fault itself: how often it strikes

        async with running_participants(orders):
            shuffler = asyncio.create_task(shuffle())
            ids: list[str] = []
            for number in range(CHANGES):
                ids += await create_sagas(orders, SAGAS_PER_CHANGE, prefix=f"before-{number}")
                await eventually(lambda number=number: changes > number, "one more change", timeout_seconds=90)
            await finals.wait_for(ids, timeout_seconds=800)
            stop.set()
            await shuffler
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))


@pytest.mark.timeout(240)
async def test_engine_that_stops_hands_its_partitions_over_at_once(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """Sooner than a session times out: it has left the group, and nobody waits for it."""
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)

    with engines(orders.file, 2) as (first, second):
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start)
        await eventually(
            lambda: len(running_partitions(first.url)) == len(running_partitions(second.url)) == 2,
            "two partitions each",
        )
        assert await asyncio.to_thread(first.terminate) == 0
        await eventually(
            lambda: len(running_partitions(second.url)) == 4, "all four", timeout_seconds=SESSION_TIMEOUT_MS / 1000 - 2
        )
