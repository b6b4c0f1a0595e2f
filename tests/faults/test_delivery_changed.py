"""`settings.delivery` changes while sagas run: engines are replaced one by one, for a while both modes are at work."""

import asyncio
from pathlib import Path

import pytest

from tests.support.engines import assert_audit_is_clean, engines, running_partitions
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker
from tests.support.orders import (
    DELIVERIES,
    FinalStates,
    assert_exactly_once,
    assert_without_transactions,
    change_settings,
    create_sagas,
    prepare_orders,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

CHANGES = ("atLeastOnce", "exactlyOnce")
SAGAS_PER_ROUND = 300


@pytest.mark.timeout(300)
async def test_nothing_is_lost_while_the_delivery_changes(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    """Whoever takes over finds what the one before left: a transaction, or a journal whose commands are not sent.

    One engine is stopped in order, the other killed.
    """
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    finals, ids, stop = FinalStates(orders), list[str](), asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            number = len(ids)
            ids.extend(await create_sagas(orders, SAGAS_PER_ROUND, prefix=f"round-{number}"))
            await asyncio.sleep(0.2)  # the load itself: sagas are under way all the time

    with engines(orders.file, 2) as made:
        for engine in made:
            await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            loading = asyncio.create_task(load())
            for delivery in CHANGES:
                change_settings(orders, DELIVERIES[delivery])
                for engine in made:
                    if engine is made[0]:
                        assert await asyncio.to_thread(engine.terminate) == 0
                    else:
                        engine.kill()
                    await asyncio.to_thread(engine.start)
                    await eventually(
                        lambda: all(len(running_partitions(each.url)) == 2 for each in made),
                        "two partitions each",
                        timeout_seconds=60,
                    )
                if delivery == "atLeastOnce":
                    wanted = len(ids) + 3 * SAGAS_PER_ROUND
                    await eventually(lambda wanted=wanted: len(ids) > wanted, "more sagas in this mode")
                    await assert_without_transactions(orders)
            stop.set()
            await loading
            await finals.wait_for(ids, timeout_seconds=120)
    await assert_exactly_once(orders, ids, finals, drops_repeats=True)
    await assert_audit_is_clean(orders.file, len(ids))
