"""Participants' side of the embedded log, and what its retention deletes."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.adapters.embedded.retention import SWEEP_RECORDS_MAX, TOMBSTONE_RETENTION_MS, sweep
from flowmachine.adapters.embedded.worker import StoreWorker
from flowmachine.config.topic_names import OwnTopics
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Transaction
from flowmachine.wire.log import OutputRecord

NOW_MS = 1_800_000_000_000
RETENTION_MS = 1_000
WAIT_SECONDS = 30.0


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[EmbeddedClient]:
    async with EmbeddedClient(tmp_path / "a.db") as made:
        await made.create_topics(["in", "out"], partitions=2)
        yield made


def numbered(topic: str, count: int, *, partition: int = 0, timestamp: int | None = None) -> list[OutputRecord]:
    return [OutputRecord(topic, b"k", b"%d" % n, partition, timestamp=timestamp) for n in range(count)]


async def test_new_group_reads_from_the_beginning_and_goes_on_behind_its_commit(client: EmbeddedClient) -> None:
    await client.produce(numbered("in", 5))
    consumer = client.consume(["in"], group="warehouse", records_max=2)
    assert [record.value for record in await anext(consumer)] == [b"0", b"1"]
    await consumer.commit()
    assert [record.value for record in await anext(consumer)] == [b"2", b"3"]
    again = client.consume(["in"], group="warehouse")
    assert [record.value for record in await anext(again)] == [b"2", b"3", b"4"], "what was not committed comes again"
    other = client.consume(["in"], group="billing")
    assert len(await anext(other)) == 5


async def test_new_group_may_start_at_the_end(client: EmbeddedClient) -> None:
    await client.produce(numbered("in", 5))
    consumer = client.consume(["in"], group="late", new_group_starts_at="end")
    waiting = asyncio.ensure_future(anext(consumer))
    done, _ = await asyncio.wait({waiting}, timeout=0.05)
    assert not done
    await client.produce([OutputRecord("in", b"k", b"new", 1)])
    async with asyncio.timeout(WAIT_SECONDS):
        assert [record.value for record in await waiting] == [b"new"]


async def test_answers_and_offsets_are_one_transaction(client: EmbeddedClient) -> None:
    await client.produce(numbered("in", 3))
    consumer = client.consume(["in"], group="warehouse")
    records = await anext(consumer)
    with pytest.raises(ConfigurationError):
        await consumer.commit([OutputRecord("out", b"k", b"a", 0), OutputRecord("no-such-topic", b"k", b"a")])
    assert await client.read_all("out") == []
    await consumer.commit([OutputRecord("out", record.key, record.value) for record in records])
    assert [record.value for record in await client.read_all("out")] == [b"0", b"1", b"2"]
    await client.produce([OutputRecord("in", b"k", b"next", 0)])
    assert [record.value for record in await anext(client.consume(["in"], group="warehouse"))] == [b"next"]


async def test_partitions_take_turns(client: EmbeddedClient) -> None:
    await client.produce(numbered("in", 4, partition=0) + numbered("in", 4, partition=1))
    consumer = client.consume(["in"], group="g", records_max=2)
    assert [{record.partition for record in await anext(consumer)} for _ in range(4)] == [{0}, {1}, {0}, {1}]


async def test_client_that_does_not_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="not running"):
        await EmbeddedClient(tmp_path / "a.db").produce([])


async def test_clients_of_one_file_share_a_thread(client: EmbeddedClient, tmp_path: Path) -> None:
    async with EmbeddedClient(tmp_path / "a.db") as other:
        assert other.worker is client.worker
    await client.produce(numbered("in", 1))


# --- retention --------------------------------------------------------------------------------------------------------


async def swept(worker: StoreWorker, *, now_ms: int = NOW_MS) -> int:
    return await worker.write(lambda store: sweep(store, now_ms=now_ms, retention_ms=RETENTION_MS))


async def test_old_records_go_once_every_group_has_read_them(client: EmbeddedClient) -> None:
    old = NOW_MS - RETENTION_MS - 1
    await client.produce(numbered("in", 3, timestamp=old) + numbered("in", 3, timestamp=NOW_MS))
    slow = client.consume(["in"], group="slow", records_max=2)
    fast = client.consume(["in"], group="fast")
    await anext(fast)
    await fast.commit()
    await anext(slow)
    assert await swept(client.worker) == 0, "the slow group has committed nothing"
    await slow.commit()
    assert await swept(client.worker) == 2
    assert [record.offset for record in await client.read_all("in")] == [2, 3, 4, 5]
    for _ in range(2):
        await anext(slow)
    await slow.commit()
    assert await swept(client.worker) == 1, "the others are not old"
    await client.produce([OutputRecord("in", b"k", b"next", 0)])
    assert [record.offset for record in await client.read_all("in")] == [3, 4, 5, 6]


async def test_records_that_nobody_reads_go_by_age(client: EmbeddedClient) -> None:
    await client.produce(numbered("out", SWEEP_RECORDS_MAX + 5, timestamp=NOW_MS - RETENTION_MS - 1))
    assert await swept(client.worker) == SWEEP_RECORDS_MAX
    assert await swept(client.worker) == 5
    assert await swept(client.worker) == 0
    await client.produce([OutputRecord("out", b"k", b"next", 0)])
    assert [record.offset for record in await client.read_all("out")] == [SWEEP_RECORDS_MAX + 5]


async def test_sagas_stay_and_their_tombstones_go(tmp_path: Path) -> None:
    log = EmbeddedLog(
        tmp_path / "b.db",
        names=OwnTopics("intake", "sagas", "unmatched"),
        inputs=("in",),
        outputs=(),
        group="g",
        home_partitions=1,
        clock=lambda: NOW_MS,
    )
    await log.start()
    async with EmbeddedClient(tmp_path / "b.db") as client:
        partition_log = await log.open_partition(0)
        changes = [OutputRecord("sagas", b"a", b"1", 0), OutputRecord("sagas", b"b", b"1", 0)]
        await partition_log.commit(Transaction(changes, {}))
        await partition_log.commit(Transaction([], {}, {b"b": None}))
        projector = client.consume(["sagas"], group="projector", records_max=1)
        await anext(projector)
        later = NOW_MS + TOMBSTONE_RETENTION_MS + 1
        assert await swept(client.worker, now_ms=later) == 0, "the projector has not seen it"
        assert [record.value for record in await anext(projector)] == [None]
        await projector.commit()
        assert await swept(client.worker) == 0, "it is not old"
        assert await swept(client.worker, now_ms=later) == 1
        assert [(record.key, record.value) for record in await client.read_all("sagas")] == [(b"a", b"1")]
    await log.stop()


async def test_group_of_an_engine_that_never_committed_keeps_its_inputs(tmp_path: Path) -> None:
    path, names = tmp_path / "c.db", OwnTopics("intake", "sagas", "unmatched")
    log = EmbeddedLog(path, names=names, inputs=("in",), outputs=(), group="g", home_partitions=1)
    await log.start()
    async with EmbeddedClient(path) as client:
        await client.produce(numbered("in", 3, timestamp=0))
        assert await swept(client.worker) == 0
        assert len(await client.read_all("in")) == 3
    await log.stop()
