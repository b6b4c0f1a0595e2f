"""Whatever stands in an input topic: a bad record stops nothing, and is kept with its reason and coordinates (G4)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from dev.engine_process import EngineProcess
from flowmachine.core.partitioners import crc32, java_murmur2
from flowmachine.wire.message import encode_message
from tests.support.engines import engines
from tests.support.kafka import KafkaBroker, admin_client, produce, read_all
from tests.support.orders import (
    DELIVERIES,
    STEPS,
    FinalStates,
    Orders,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    read_commands,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
async def orders(kafka_broker: KafkaBroker, tmp_path: Path) -> Orders:
    return await prepare_orders(kafka_broker.bootstrap, tmp_path)


@pytest.fixture
async def engine(orders: Orders) -> AsyncGenerator[EngineProcess]:
    process = EngineProcess(orders.file)
    try:
        yield await asyncio.to_thread(process.start)
    finally:
        process.close()


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def post(url: str, body: Any, **headers: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        return response.status, await response.json()


def event(label: str, payload: dict[str, Any] | None = None) -> bytes:
    return encode_message(label, payload or {})


BAD_VALUES: dict[str, tuple[bytes | None, str]] = {
    "empty value": (b"", "malformed"),
    "no value": (None, "malformed"),
    "not UTF-8": (b'{"messageLabel":"\xff\xfe"}', "malformed"),
    "not JSON": (b"{paymentExecuted}", "malformed"),
    "not an object": (b'["paymentExecuted"]', "malformed"),
    "missing label": (b'{"messagePayload":{}}', "malformed"),
    "label no string": (b'{"messageLabel":7,"messagePayload":{}}', "malformed"),
    "payload no object": (b'{"messageLabel":"paymentExecuted","messagePayload":[1]}', "malformed"),
    "nested too deeply": (b'{"messageLabel":"x","messagePayload":' + b'{"a":' * 300 + b"1" + b"}" * 301, "malformed"),
    "unexpected event": (event("orderDelivered"), "unexpected"),
    "no such event": (event("nobodyKnows"), "unexpected"),
    "over-long": (event("paymentExecuted", {"blob": "x" * 1_010_000}), "too_large"),
}


@pytest.mark.timeout(240)
async def test_bad_records_are_kept_with_their_reason_and_the_saga_goes_on(
    orders: Orders, engine: EngineProcess
) -> None:
    (saga_id,) = await create_sagas(orders, 1)
    key = saga_id.encode()
    home = java_murmur2(key, 4)
    while (await get(f"{engine.url}/sagas/{saga_id}"))[0] != 200:
        pass

    values = [value for value, _ in BAD_VALUES.values()]
    offsets = await produce(
        orders.bootstrap, orders.events, [(key, value, home, []) for value in values], max_request_size=2_000_000
    )
    strangers = [
        (None, event("paymentExecuted"), home, []),  # no key
        (b"\xff\xfe", event("paymentExecuted"), java_murmur2(b"\xff\xfe", 4), []),  # a key that is no text
        (b"no-id-of-ours", event("paymentExecuted"), java_murmur2(b"no-id-of-ours", 4), []),
    ]
    stranger_offsets = await produce(orders.bootstrap, orders.events, strangers)

    async with running_participants(orders):
        finals = FinalStates(orders)
        await finals.wait_for([saga_id], timeout_seconds=60)
    expected = len(BAD_VALUES) + len(strangers)
    kept = await read_all(
        orders.bootstrap, orders.unmatched, until=lambda found: len(found) >= expected, timeout_seconds=30
    )
    by_origin = {}
    for record in kept:
        headers = {name: value.decode() for name, value in record.headers}
        by_origin[headers["flowmachine-origin"]] = (headers["flowmachine-outcome"], record.value)
    for (name, (value, outcome)), offset in zip(BAD_VALUES.items(), offsets, strict=True):
        found = by_origin[f"{orders.events}/{home}/{offset}"]
        assert found[0] == outcome, name
        if len(value or b"") < 100_000:
            assert found[1] == value, name
    origins = [f"{orders.events}/{home if key is None else java_murmur2(key, 4)}" for key, *_ in strangers]
    outcomes = [by_origin[f"{origin}/{offset}"][0] for origin, offset in zip(origins, stranger_offsets, strict=True)]
    assert outcomes == ["malformed", "malformed", "unknown_saga"]
    assert len(kept) == expected
    await assert_exactly_once(orders, [saga_id], finals)
    assert engine.is_ready()


@pytest.mark.timeout(240)
async def test_late_and_doubled_events_change_nothing(orders: Orders, engine: EngineProcess) -> None:
    (saga_id,) = await create_sagas(orders, 1)
    async with running_participants(orders):
        await FinalStates(orders).wait_for([saga_id], timeout_seconds=60)
    _, before = await get(f"{engine.url}/sagas/{saga_id}")
    repeated = [(saga_id.encode(), event(label), None, []) for _, label in STEPS]
    late = [(saga_id.encode(), event("neverSeenBefore"), None, [])]
    await produce(orders.bootstrap, orders.events, repeated + late)
    kept = await read_all(orders.bootstrap, orders.unmatched, until=bool, timeout_seconds=30)
    assert [dict(record.headers)["flowmachine-outcome"] for record in kept] == [b"finished"]
    _, after = await get(f"{engine.url}/sagas/{saga_id}")
    assert after == before
    await read_commands(orders, 3)


@pytest.mark.timeout(240)
async def test_a_large_payload_becomes_metadata_and_a_second_one_that_does_not_fit_is_refused(
    orders: Orders, engine: EngineProcess
) -> None:
    (saga_id,) = await create_sagas(orders, 1)
    key = saga_id.encode()
    large, too_much = {"blob": "x" * 900_000}, {"more": "x" * 900_000}
    await produce(
        orders.bootstrap,
        orders.events,
        [
            (key, event("paymentExecuted", large), None, []),
            (key, event("orderPrepared", too_much), None, []),
            (key, event("orderPrepared"), None, []),
        ],
        max_request_size=2_000_000,
    )
    await read_all(orders.bootstrap, orders.commands, until=lambda found: len(found) >= 3, timeout_seconds=60)
    status, saga = await get(f"{engine.url}/sagas/{saga_id}")
    assert (status, saga["currentState"], saga["metadata"]["blob"]) == (200, "prepared", large["blob"])
    assert "more" not in saga["metadata"]
    (kept,) = await read_all(orders.bootstrap, orders.unmatched)
    assert dict(kept.headers)["flowmachine-outcome"] == b"too_large"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("event_partitions", [4, 3])
async def test_events_of_another_partitioner_are_forwarded_to_their_saga(
    kafka_broker: KafkaBroker, tmp_path: Path, event_partitions: int
) -> None:
    """librdkafka's CRC-32 sends most keys elsewhere, and a second input topic may have another partition count."""
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, homePartitions=4, event_partitions=event_partitions)
    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        ids = await create_sagas(orders, 200)
        for number, (_, label) in enumerate(STEPS):
            wanted = len(ids) * (number + 1)
            await read_all(
                orders.bootstrap, orders.commands, until=lambda found, n=wanted: len(found) >= n, timeout_seconds=60
            )
            records = [(i.encode(), event(label), crc32(i.encode(), event_partitions), []) for i in ids]
            await produce(orders.bootstrap, orders.events, records)
        finals = FinalStates(orders)
        await finals.wait_for(ids, timeout_seconds=60)
        await assert_exactly_once(orders, ids, finals)
        async with aiohttp.ClientSession() as session, session.get(f"{engine.url}/-/metrics") as response:
            metrics = await response.text()
        (forwarded,) = [line for line in metrics.splitlines() if line.startswith("flowmachine_forwarded_total")]
        assert float(forwarded.split()[-1]) > 100
    finally:
        engine.close()


@pytest.mark.timeout(240)
async def test_whoever_has_an_id_reads_the_saga_at_once_from_any_engine(orders: Orders, engine: EngineProcess) -> None:
    second = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(second.start)
        urls = (engine.url, second.url)
        for number in range(20):
            status, answer = await post(
                f"{urls[number % 2]}/saga", {"associatedEntityId": f"order-{number}", "metadata": {"number": number}}
            )
            assert status == 200
            for url in urls:
                status, saga = await get(f"{url}/sagas/{answer['sagaId']}")
                assert (status, saga["metadata"]["number"]) == (200, number)
        assert (await get(f"{engine.url}/sagas/unknown"))[0] == 404
    finally:
        second.close()


@pytest.mark.timeout(240)
async def test_the_same_idempotency_key_makes_one_saga(orders: Orders, engine: EngineProcess) -> None:
    body = {"associatedEntityId": "order-1", "metadata": {}}
    answers = await asyncio.gather(*(post(f"{engine.url}/saga", body, **{"Idempotency-Key": "one"}) for _ in range(5)))
    ids = {json.dumps(answer) for _, answer in answers}
    assert len(ids) == 1
    other = await post(f"{engine.url}/saga", body, **{"Idempotency-Key": "two"})
    assert other[1] != answers[0][1]
    assert (await get(f"{engine.url}/sagas/{answers[0][1]['sagaId']}"))[0] == 200
    assert (await get(f"{engine.url}/sagas/{other[1]['sagaId']}"))[0] == 200
    labels = await read_commands(orders, 2)
    assert all(found == ["executePayment"] for found in labels.values())


@pytest.mark.timeout(240)
async def test_an_event_over_http_moves_its_saga(orders: Orders, engine: EngineProcess) -> None:
    _, answer = await post(f"{engine.url}/saga", {"associatedEntityId": "order-1", "metadata": {}})
    saga_id = answer["sagaId"]
    for _, label in STEPS:
        status, _ = await post(
            f"{engine.url}/event", {"key": saga_id, "value": {"messageLabel": label, "messagePayload": {label: 1}}}
        )
        assert status == 200
    finals = FinalStates(orders)
    await finals.wait_for([saga_id], timeout_seconds=30)
    await assert_exactly_once(orders, [saga_id], finals)


@pytest.mark.timeout(240)
async def test_records_that_retention_removed_are_reported_and_the_engine_goes_on(
    orders: Orders, engine: EngineProcess
) -> None:
    assert await asyncio.to_thread(engine.terminate) == 0
    keys = [key for key in (f"gone-{number}".encode() for number in range(100)) if java_murmur2(key, 4) == 0][:10]
    await produce(orders.bootstrap, orders.events, [(key, event("paymentExecuted"), 0, []) for key in keys])
    async with admin_client(orders.bootstrap) as admin:
        await admin.delete_records({TopicPartition(orders.events, 0): RecordsToDelete(before_offset=8)})
    await asyncio.to_thread(engine.start)
    kept = await read_all(orders.bootstrap, orders.unmatched, until=lambda found: len(found) >= 2, timeout_seconds=30)
    assert [dict(record.headers)["flowmachine-origin"] for record in kept] == [
        f"{orders.events}/0/{offset}".encode() for offset in (8, 9)
    ]
    assert engine.is_ready()


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_events_come_as_their_producers_compress_them(codec: str, orders: Orders, engine: EngineProcess) -> None:
    ids = await create_sagas(orders, 10)
    await read_all(orders.bootstrap, orders.commands, until=lambda found: len(found) >= 10, timeout_seconds=30)
    events = [(saga_id.encode(), event(label), None, []) for _, label in STEPS for saga_id in ids]
    await produce(orders.bootstrap, orders.events, events, compression_type=codec)
    finals = FinalStates(orders)
    await finals.wait_for(ids, timeout_seconds=30)
    await assert_exactly_once(orders, ids, finals)


def codecs_of(segment: Path) -> set[int]:
    """The compression of every batch in a segment file, markers of transactions left out; 0: none."""
    records = MemoryRecords(segment.read_bytes())
    found: set[int] = set()
    while records.has_next():
        batch = records.next_batch()
        assert isinstance(batch, DefaultRecordBatch)
        if not batch.is_control_batch:
            found.add(batch.compression_type)
    return found


@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_the_changelog_is_compressed_and_commands_are_not(
    kafka_broker: KafkaBroker, tmp_path: Path, delivery: str
) -> None:
    """Clients of existing services stop for good at a record that is compressed with lz4, snappy or zstd."""
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path, **DELIVERIES[delivery])
    with engines(orders.file, 1) as (engine,):
        await asyncio.to_thread(engine.start)
        await create_sagas(orders, 50)
        await read_all(orders.bootstrap, orders.commands, until=lambda found: len(found) >= 50, timeout_seconds=60)

    def codecs(topic: str) -> set[int]:
        segments = kafka_broker.own_cluster().data_dir.rglob(f"{topic}-*/*.log")
        return set().union(*(codecs_of(segment) for segment in segments))

    assert codecs(orders.commands) == {DefaultRecordBatch.CODEC_NONE}
    assert codecs(orders.sagas) == {DefaultRecordBatch.CODEC_ZSTD}
