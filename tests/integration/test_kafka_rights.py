"""The rights in Kafka that docs/install.md asks for are enough for an engine."""

import asyncio
from pathlib import Path

import pytest

from dev.engine_process import EngineProcess
from dev.kafka import KafkaCluster
from tests.support.orders import (
    FinalStates,
    Orders,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]

SAGAS = 10


def rights(orders: Orders) -> list[tuple[str, ...]]:
    """The rows of the document's table, as options of Kafka's own command."""
    own = f"flowmachine.{orders.namespace}.{orders.name}."
    prefixed = ("--resource-pattern-type", "prefixed")
    return [
        ("--topic", orders.events, *_operations("Read", "Describe")),
        ("--topic", orders.commands, *_operations("Write", "Describe")),
        ("--topic", own, *prefixed, *_operations("Read", "Write", "Describe", "Create")),
        ("--group", orders.name, *_operations("Read")),
        ("--transactional-id", f"{orders.name}-", *prefixed, *_operations("Write", "Describe")),
    ]


def _operations(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--operation", name))


@pytest.mark.parametrize("delivery", ["exactlyOnce", "atLeastOnce"])
async def test_rights_of_the_document_are_enough(
    kafka_secure_broker: KafkaCluster, tmp_path: Path, delivery: str
) -> None:
    sasl = {"mechanism": "plain", "username": "alice", "password": "alice-secret"}
    channel = {"brokers": kafka_secure_broker.bootstrap_of("SASL_PLAINTEXT"), "sasl": sasl}
    orders = await prepare_orders(
        kafka_secure_broker.bootstrap, tmp_path, channel=channel, namespace="shop", delivery=delivery
    )
    for permissions in rights(orders):
        await asyncio.to_thread(kafka_secure_broker.grant, "alice", *permissions)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        ids, finals = await create_sagas(orders, SAGAS), FinalStates(orders)
        async with running_participants(orders):
            await finals.wait_for(ids, timeout_seconds=60)
    finally:
        engine.close()
    await assert_exactly_once(orders, ids, finals)
