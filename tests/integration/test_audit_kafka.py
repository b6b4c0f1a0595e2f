"""`flowmachine audit` on a broker: clean after a real run and during one; planted errors are found."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dev.engine_process import EngineProcess
from flowmachine.adapters.kafka.connection import CLOSE_SECONDS, KafkaConnection
from flowmachine.adapters.kafka.reader import KafkaReader
from flowmachine.cli.main import main
from flowmachine.core.partitioners import crc32
from flowmachine.wire.message import encode_message
from tests.support.kafka import KafkaBroker, create_topics, produce, read_all, unique_name
from tests.support.orders import COMMANDS, FinalStates, create_sagas, prepare_orders, running_participants

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ORDERS = 20


async def audit(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = await asyncio.to_thread(main, ["audit", "-f", str(file), "--output", "json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.timeout(240)
async def test_a_real_run_is_clean_until_something_is_planted(
    kafka_broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        ids = await create_sagas(orders, ORDERS)
        stray = [(i.encode(), encode_message("unheard", {}), crc32(i.encode(), 4), []) for i in ids]
        await produce(orders.bootstrap, orders.events, [*stray, (None, b"{}", 0, [])])
        async with running_participants(orders):
            code, at_work = await audit(orders.file, capsys)
            assert (code, at_work["findings"]) == (0, [])
            await FinalStates(orders).wait_for(ids, timeout_seconds=60)
        await read_all(orders.bootstrap, orders.unmatched, until=lambda found: len(found) > ORDERS, timeout_seconds=30)
        code, report = await audit(orders.file, capsys)
        assert (code, report["findings"]) == (0, [])
        assert (report["sagas"], report["verified"], report["notVerifiable"]) == (ORDERS, ORDERS, [])
        assert report["commands"] == ORDERS * len(COMMANDS)
    finally:
        engine.close()

    (command, *_) = await read_all(orders.bootstrap, orders.commands)
    place = command.partition
    (offset,) = await produce(orders.bootstrap, orders.commands, [(command.key, command.value, place, [])])
    (saga, *_) = [r for r in await read_all(orders.bootstrap, orders.sagas) if b'"delivered"' in (r.value or b"")]
    changed = (saga.value or b"").replace(b'"amount":10', b'"amount":11')
    (changed_at,) = await produce(orders.bootstrap, orders.sagas, [(saga.key, changed, saga.partition, [])])
    code, report = await audit(orders.file, capsys)
    assert code == 1
    assert {(finding["kind"], finding["where"]) for finding in report["findings"]} == {
        ("command-doubled", f"{orders.commands}/{place}/{offset}"),
        ("record-differs", f"{orders.sagas}/{saga.partition}/{changed_at}"),
    }


async def test_reader_that_found_nothing_last_is_closed_at_once(kafka_broker: KafkaBroker) -> None:
    """aiokafka may miss that it is closed while it goes over to another partition, and would then never end."""
    topic = unique_name("topic")
    await create_topics(kafka_broker.bootstrap, {topic: 2})
    await produce(kafka_broker.bootstrap, topic, [(None, b"x", 0, [])])
    connection = KafkaConnection((kafka_broker.bootstrap,), "auditor")
    clock = asyncio.get_running_loop().time
    for _ in range(20):
        started = clock()
        async with asyncio.timeout(CLOSE_SECONDS), KafkaReader(connection, topic) as reader:
            assert [len(records) async for records in reader.read(topic, 0, 0, 1)] == [1]
            await reader.bounds(topic, 1)
            assert [records async for records in reader.read(topic, 1, 0, 0)] == []
        assert clock() - started < CLOSE_SECONDS, "it had to be told twice"


@pytest.mark.timeout(120)
async def test_topics_that_are_missing_are_named(
    kafka_broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    assert await asyncio.to_thread(main, ["audit", "-f", str(orders.file)]) == 2
    assert f"topic '{orders.intake}' does not exist" in capsys.readouterr().err
