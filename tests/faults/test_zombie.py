"""SIGSTOP for longer than the session and the transaction last, then SIGCONT: a zombie that still believes it owns."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from flowmachine.adapters.kafka.membership import SESSION_TIMEOUT_MS
from flowmachine.adapters.kafka.partition import TRANSACTION_TIMEOUT_MS
from tests.support.engines import assert_audit_is_clean, engines, running_partitions
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker
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

SAGAS = 3000
PAUSE_SECONDS = max(SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS) / 1000 + 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_a_zombie_harms_nothing_when_it_wakes_up(
    kafka_broker: KafkaBroker, tmp_path: Path, delivery: str
) -> None:
    """Nor does it set a saga back without transactions, where the epoch of its producer alone keeps it out."""
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, **DELIVERIES[delivery])
    finals = FinalStates(orders)
    with engines(orders.file, 2) as (zombie, other):
        await asyncio.to_thread(zombie.start)
        await asyncio.to_thread(other.start)
        await eventually(
            lambda: len(running_partitions(zombie.url)) == len(running_partitions(other.url)) == 2, "two each"
        )
        async with running_participants(orders):
            ids = await create_sagas(orders, SAGAS)
            zombie.signal(signal.SIGSTOP)  # in the middle of it: most of the sagas have not finished
            stopped_at = time.monotonic()
            try:
                await eventually(lambda: len(running_partitions(other.url)) == 4, "taken over", timeout_seconds=60)
                ids += await create_sagas(orders, SAGAS // 3, prefix="meanwhile")
                await asyncio.sleep(stopped_at + PAUSE_SECONDS - time.monotonic())  # the fault itself
            finally:
                zombie.signal(signal.SIGCONT)
            ids += await create_sagas(orders, SAGAS // 3, prefix="after")
            await finals.wait_for(ids, timeout_seconds=120)
            await eventually(
                lambda: len(running_partitions(zombie.url)) == len(running_partitions(other.url)) == 2,
                "both work again",
                timeout_seconds=60,
            )
    if delivery == "atLeastOnce":
        await assert_without_transactions(orders)
    await assert_exactly_once(orders, ids, finals, drops_repeats=True)
    await assert_audit_is_clean(orders.file, len(ids))
