"""What the programs that the engine is compared with have in common: `passthrough` and `floor`.

Per partition a consumer for each input topic, one transactional producer, and batches by the engine's rule. aiokafka
and uvloop only; nothing of FlowMachine is imported, and the numbers below repeat the engine's own, so that all ask the
same of the broker:

    read ahead up to two batches ─► gather ─► decide ─► begin, send_batch …, send offsets, await all, commit ─► again

A bare program restores nothing, leaves a partition to no other process and stops at any error.
"""

import argparse
import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

Record = ConsumerRecord[bytes, bytes]
Written = Iterable[tuple[bytes, bytes]]
"""Key and value of records."""
Decide = Callable[[Sequence[Record]], Iterable[tuple[str, Written]]]
"""What is written for a batch: records by their topic; a topic that gets none is left out."""

BATCH_RECORDS_MAX = 2000
LINGER_SECONDS = 0.005
GATHER_WITHIN_SECONDS = 0.05
"""A batch gathers only if the one before ended less than this ago: a record alone goes at once."""
BATCH_BYTES = 1_040_000
FETCH_BYTES = 2 * 1024 * 1024


class Lane:
    """One partition of the input topics, and of all that `decide` writes for them."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        partition: int,
        inputs: Sequence[str],
        decide: Decide,
        compressed_topic: str | None = None,
    ) -> None:
        """`compressed_topic`: its batches are compressed as the engine compresses its changelog."""
        self._decide = decide
        self._compressed_topic = compressed_topic
        self._group = group
        self._partition = partition
        clients: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "client_id": "bare",
            "request_timeout_ms": 15_000,
            "retry_backoff_ms": 10,
            "metadata_max_age_ms": 30_000,
        }
        self._producer = AIOKafkaProducer(
            **clients,
            transactional_id=f"{group}-{partition}",
            transaction_timeout_ms=15_000,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
            linger_ms=0,
        )
        self._consumers = {
            TopicPartition(topic, partition): AIOKafkaConsumer(
                **clients,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=500,
            )
            for topic in inputs
        }
        self._records: deque[Record] = deque()
        self._has_records = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def start(self) -> None:
        """Connect; read from the topics' beginning."""
        await self._producer.start()
        for topic_partition, consumer in self._consumers.items():
            await consumer.start()
            consumer.assign([topic_partition])
            consumer.seek(topic_partition, 0)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for consumer in self._consumers.values():
                group.create_task(self._read(consumer))
            group.create_task(self._write())

    async def stop(self) -> None:
        """Disconnect."""
        for consumer in self._consumers.values():
            await consumer.stop()
        await self._producer.stop()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await consumer.getmany(timeout_ms=3_600_000, max_records=BATCH_RECORDS_MAX)
            await self._has_room.wait()
            for records in fetched.values():
                self._records.extend(records)
                self._has_records.set()
            if len(self._records) >= 2 * BATCH_RECORDS_MAX:
                self._has_room.clear()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        committed_at = 0.0
        while await self._has_records.wait():
            if loop.time() - committed_at < GATHER_WITHIN_SECONDS and len(self._records) < BATCH_RECORDS_MAX:
                await asyncio.sleep(LINGER_SECONDS)
            await self._commit(self._take())
            committed_at = loop.time()

    def _take(self) -> list[Record]:
        take = self._records.popleft
        taken = [take() for _ in range(min(len(self._records), BATCH_RECORDS_MAX))]
        if not self._records:
            self._has_records.clear()
        self._has_room.set()
        return taken

    async def _commit(self, records: Sequence[Record]) -> None:
        producer = self._producer
        decided = self._decide(records)
        await producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        for topic, written in decided:
            sent += [
                await producer.send_batch(batch, topic, partition=self._partition)
                for batch in self._build_batches(topic, written)
            ]
        last_offsets = {record.topic: record.offset for record in records}
        ends = {TopicPartition(topic, self._partition): offset + 1 for topic, offset in last_offsets.items()}
        await producer.send_offsets_to_transaction(ends, self._group)
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    def _build_batches(self, topic: str, written: Written) -> list[BatchBuilder]:
        create = _create_compressed if topic == self._compressed_topic else self._producer.create_batch
        batches = [create()]
        append = batches[-1].append
        for key, value in written:
            if append(timestamp=None, key=key, value=value) is None:
                batches.append(create())
                append = batches[-1].append
                append(timestamp=None, key=key, value=value)
        for batch in batches:
            batch.close()
        return batches


def _create_compressed() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_ZSTD, is_transactional=True)


async def run(lanes: Sequence[Lane]) -> None:
    """Connect all, say "ready", and work until SIGTERM."""
    for lane in lanes:
        await lane.start()
    work = asyncio.gather(*(lane.run() for lane in lanes))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    print("ready", flush=True)
    try:
        await work
    except asyncio.CancelledError:
        for lane in lanes:
            await lane.stop()


def run_program(build_lanes: Callable[[], Sequence[Lane]]) -> None:
    """The program, on an event loop like the engine's; the lanes are built within it."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # as the engine: it warns about normal retries

    async def build_and_run() -> None:
        await run(build_lanes())

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(build_and_run())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed, as the engine does."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def build_parser(program: str, *topics: str) -> argparse.ArgumentParser:
    """What every such program is told: the broker, the group, its topics, its partitions."""
    parser = argparse.ArgumentParser(prog=program)
    for name in ("bootstrap", "group", *topics):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=parse_numbers, required=True)
    return parser


def parse_numbers(text: str) -> tuple[int, ...]:
    """Numbers between commas."""
    return tuple(map(int, text.split(",")))
