"""Latency, a cut, and a network that swallows everything, between the engine and its broker."""

import asyncio
from pathlib import Path

import pytest

from dev.addresses import LOOPBACK, find_free_ports
from dev.engine_process import EngineProcess
from dev.toxiproxy import Link, Toxiproxy
from flowmachine.adapters.kafka import KafkaConnection, KafkaLog, KafkaLogSettings, TopicNames
from flowmachine.adapters.kafka.partition import TRANSACTION_TIMEOUT_MS
from flowmachine.errors import TransientError
from tests.support.engines import assert_audit_is_clean, metric_total
from tests.support.eventually import eventually
from tests.support.kafka import StartCluster, create_topics, unique_name, wait_for_coordinator
from tests.support.orders import FinalStates, assert_exactly_once, create_sagas, prepare_orders, running_participants

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SAGAS = 1000
LARGE_SAGAS, LARGE_BYTES = 400, 100_000
FAULT_SECONDS = 6.0
"""Longer than an engine takes to notice (it asks every two seconds)."""


@pytest.fixture
def broker_and_link(kafka_cluster: StartCluster, toxiproxy: Toxiproxy) -> tuple[str, Link]:
    """A broker's own address, and a way to it through the proxy."""
    base, proxy_port = find_free_ports(2)
    base -= base % 10
    # The engine's listener advertises the proxy, so that all of its connections go through it; others go straight.
    advertised = f"PLAINTEXT://{LOOPBACK}:{base},EXTRA://{LOOPBACK}:{proxy_port}"
    cluster = kafka_cluster(port_base=base, extra_host=LOOPBACK, overrides={"advertised.listeners": advertised})
    return cluster.bootstrap, toxiproxy.link(f"{LOOPBACK}:{base + 5}", port=proxy_port)


@pytest.mark.timeout(400)
async def test_nothing_is_lost_when_the_network_is_slow_cut_or_silent(
    broker_and_link: tuple[str, Link], tmp_path: Path
) -> None:
    bootstrap, link = broker_and_link
    orders = await prepare_orders(bootstrap, tmp_path, channel={"brokers": [link.address]})
    finals = FinalStates(orders)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        async with running_participants(orders):
            ids: list[str] = []
            for number, strike in enumerate((_slow, Link.cut, Link.stall)):
                ids += await create_sagas(orders, SAGAS, prefix=f"fault-{number}")
                await asyncio.to_thread(strike, link)
                ids += await create_sagas(orders, SAGAS // 2, prefix=f"during-{number}")
                await asyncio.sleep(FAULT_SECONDS)  # the fault itself
                await asyncio.to_thread(link.heal)
                await eventually(engine.is_ready, "ready again by itself", timeout_seconds=90)
            await finals.wait_for(ids, timeout_seconds=120)
    finally:
        engine.close()
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))


@pytest.mark.timeout(300)
async def test_a_backlog_of_large_sagas_passes_a_slow_network(
    broker_and_link: tuple[str, Link], tmp_path: Path
) -> None:
    """All at once they would need longer than a transaction may take, and would be tried again for ever."""
    bootstrap, link = broker_and_link
    orders = await prepare_orders(
        bootstrap, tmp_path, channel={"brokers": [link.address]}, event_partitions=1, command_partitions=1
    )
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)  # it makes the topics
        await asyncio.to_thread(engine.terminate)
        ids = await create_sagas(orders, LARGE_SAGAS, partitions=1, padding_bytes=LARGE_BYTES)
        kilobytes = LARGE_SAGAS * LARGE_BYTES // 1000  # of the commands alone
        await asyncio.to_thread(link.limit, round(kilobytes / (1.5 * TRANSACTION_TIMEOUT_MS / 1000)))
        await asyncio.to_thread(engine.start)
        await eventually(
            lambda: metric_total(engine, "flowmachine_inputs_total", outcome="created") >= len(ids),
            "all created",
            timeout_seconds=120,
        )
    finally:
        engine.close()
    await assert_audit_is_clean(orders.file, len(ids))


def _slow(link: Link) -> None:
    link.add_latency(200, jitter_ms=150)


async def test_a_partition_that_nobody_answers_says_what_it_waits_for(
    broker_and_link: tuple[str, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowmachine.adapters.kafka.partition.ANSWER_TIMEOUT_SECONDS", 1.0)
    bootstrap, link = broker_and_link
    name = unique_name("silent")
    names = TopicNames(
        intake=f"{name}.intake",
        sagas=f"{name}.sagas",
        unmatched=f"{name}.unmatched",
        inputs=(f"{name}.events",),
        outputs=(f"{name}.commands",),
        home_partitions=1,
    )
    await create_topics(bootstrap, {f"{name}.events": 1, f"{name}.commands": 1})
    await wait_for_coordinator(bootstrap, name)
    log = KafkaLog(KafkaLogSettings(KafkaConnection((link.address,), name), names, name))
    try:
        await log.start()
        await asyncio.to_thread(link.stall)
        with pytest.raises(TransientError, match=f"starting transactional producer '{name}-0': no answer in time"):
            await log.open_partition(0)
        await asyncio.to_thread(link.heal)
        opened = await log.open_partition(0)
        assert len(opened.sources) == 2
    finally:
        await log.stop()
