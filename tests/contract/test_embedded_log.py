"""The log contract on SQLite, and what only the embedded log promises."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.config.topic_names import OwnTopics
from flowmachine.errors import ConfigurationError, FencedError, InvariantError, TransientError
from flowmachine.ports import Transaction
from flowmachine.wire.log import InputRecord, OutputRecord
from tests.contract.log_contract import LogContract
from tests.contract.log_harness import (
    HOME_PARTITIONS,
    OUTPUT_PARTITIONS,
    WIDE_PARTITIONS,
    ContractTopics,
    fetch_count,
    soon,
    source_of,
    values,
)

NAMES = OwnTopics(intake="orders.intake", sagas="orders.sagas", unmatched="orders.unmatched")


class EmbeddedHarness:
    """Handles on one file of the test's own; `exclusive` is off, so that there can be two engines."""

    def __init__(self, path: Path, client: EmbeddedClient) -> None:
        self.path = path
        self.client = client
        self.topics = ContractTopics(
            intake=NAMES.intake,
            sagas=NAMES.sagas,
            unmatched=NAMES.unmatched,
            input="orders-events",
            wide_input="orders-wide",
            output="orders-commands",
        )
        self._logs: list[EmbeddedLog] = []

    async def make_log(self) -> EmbeddedLog:
        log = EmbeddedLog(
            self.path,
            names=NAMES,
            inputs=(self.topics.input, self.topics.wide_input),
            outputs=(self.topics.output,),
            group="orders",
            home_partitions=HOME_PARTITIONS,
            exclusive=False,
        )
        await log.start()
        self._logs.append(log)
        return log

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        await self.client.produce(records)

    async def read_committed(self, topic: str) -> Sequence[InputRecord]:
        return await self.client.read_all(topic)

    async def stop(self) -> None:
        for log in self._logs:
            await log.stop()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncGenerator[EmbeddedHarness]:
    path = tmp_path / "orders.db"
    async with EmbeddedClient(path) as client:
        made = EmbeddedHarness(path, client)
        await client.create_topics([made.topics.input], partitions=HOME_PARTITIONS)
        await client.create_topics([made.topics.wide_input], partitions=WIDE_PARTITIONS)
        await client.create_topics([made.topics.output], partitions=OUTPUT_PARTITIONS)
        yield made
        await made.stop()


class TestEmbeddedLog(LogContract):
    """The contract."""


async def test_failed_commit_leaves_nothing_and_the_log_goes_on(harness: EmbeddedHarness) -> None:
    log, names = await harness.make_log(), harness.topics
    partition_log = await log.open_partition(0)
    good = OutputRecord(names.output, b"k", b"good", 0)
    failures: list[tuple[OutputRecord, type[Exception]]] = [
        (OutputRecord("no-such-topic", b"k", b"v"), ConfigurationError),
        (OutputRecord(names.output, b"k", b"v", OUTPUT_PARTITIONS), ConfigurationError),
        (OutputRecord(names.sagas, None, b"v", 0), InvariantError),
    ]
    for bad, error in failures:
        with pytest.raises(error):
            await partition_log.commit(Transaction([good, bad], {(names.input, 0): 7}))
    assert await harness.client.read_all(names.output) == []
    assert await source_of(await log.open_partition(0), names.input).position() == 0


async def test_fenced_commit_fails_alone_in_a_shared_transaction(harness: EmbeddedHarness) -> None:
    log, names = await harness.make_log(), harness.topics
    stale, one = await log.open_partition(0), await log.open_partition(1)
    zero = await log.open_partition(0)
    outcomes = await asyncio.gather(
        one.commit(Transaction([OutputRecord(names.output, b"k", b"one", 0)], {})),
        stale.commit(Transaction([OutputRecord(names.output, b"k", b"stale", 0)], {})),
        zero.commit(Transaction([OutputRecord(names.output, b"k", b"zero", 0)], {})),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), FencedError, type(None)]
    records = await harness.client.read_all(names.output)
    assert [(record.offset, record.value) for record in records] == [(0, b"one"), (1, b"zero")]


async def test_partition_count_is_pinned_when_the_topics_are_made(harness: EmbeddedHarness) -> None:
    await harness.make_log()
    other = EmbeddedLog(
        harness.path, names=NAMES, inputs=(), outputs=(), group="orders", home_partitions=16, exclusive=False
    )
    assert (await other.start()).home_partitions == HOME_PARTITIONS
    await other.stop()


async def test_started_log_may_be_started_and_stopped_again(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "a.db", names=NAMES, inputs=("in",), outputs=(), group="g")
    topics = await log.start()
    assert await log.start() == topics
    async with aclosing(log.run_membership("here")) as assignments:
        await anext(assignments)
        rest = asyncio.ensure_future(anext(assignments, None))
        await log.stop()
        assert await soon(rest) is None, "a stopped log has no more assignments"
    assert await log.start() == topics
    await log.stop()
    await log.stop()


async def test_waiting_fetch_ends_when_the_log_stops(tmp_path: Path) -> None:
    log = EmbeddedLog(tmp_path / "a.db", names=NAMES, inputs=("in",), outputs=(), group="g")
    await log.start()
    partition_log = await log.open_partition(0)
    waiting = asyncio.ensure_future(source_of(partition_log, "in").fetch())
    await asyncio.wait({waiting}, timeout=0.02)
    await log.stop()
    with pytest.raises(TransientError):
        await soon(waiting)
    with pytest.raises(TransientError):
        await partition_log.commit(Transaction([], {}, {b"order": b"saga"}))


async def test_topic_for_messages_cannot_hold_sagas(harness: EmbeddedHarness) -> None:
    names = OwnTopics(intake="i", sagas=harness.topics.output, unmatched="u")
    log = EmbeddedLog(harness.path, names=names, inputs=(), outputs=(), group="g", home_partitions=3, exclusive=False)
    with pytest.raises(ConfigurationError, match="cannot hold sagas"):
        await log.start()
    assert await harness.client.read_all(harness.topics.output) == []
    with pytest.raises(ConfigurationError, match="no such topic"):
        await harness.client.read_all("i")


async def test_superseded_sagas_leave_the_file(harness: EmbeddedHarness) -> None:
    log, sagas = await harness.make_log(), harness.topics.sagas
    partition_log = await log.open_partition(0)
    for number in range(10):
        changes = [OutputRecord(sagas, key, b"%d" % number, 0) for key in (b"a", b"b", b"a")]
        await partition_log.commit(Transaction(changes, {}))
    records = await harness.client.read_all(sagas)
    assert [(record.key, record.offset) for record in records] == [(b"b", 28), (b"a", 29)]


async def test_page_of_large_records_is_cut(harness: EmbeddedHarness) -> None:
    log, names = await harness.make_log(), harness.topics
    large = [OutputRecord(names.input, b"k", bytes([n]) * 1_000_000, 0) for n in range(40)]
    await harness.produce(large)
    source = source_of(await log.open_partition(0), names.input)
    first = (await source.fetch()).take(1_000)
    assert 1 <= len(first) < 40
    rest = await fetch_count(source, 40 - len(first))
    assert [*values(first), *values(rest)] == [record.value for record in large]


async def test_people_can_read_the_file(harness: EmbeddedHarness) -> None:
    await harness.make_log()
    await harness.produce([OutputRecord(harness.topics.input, b"order-1", b"{}", 1, timestamp=1_700_000_000_000)])
    connection = sqlite3.connect(harness.path)
    rows = connection.execute('SELECT topic, partition, "offset", at, key, value FROM log').fetchall()
    connection.close()
    assert rows == [(harness.topics.input, 1, 0, "2023-11-14 22:13:20", "order-1", "{}")]
