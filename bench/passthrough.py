"""The bare program that the engine is compared with: the same transactions, and no logic.

Per partition one consumer, one transactional producer, and for each input record one command and one saga record of
constant bytes in the sizes that the engine writes. aiokafka and uvloop only; nothing of FlowMachine is imported, and
the numbers below repeat the engine's own, so that both ask the same of the broker:

    read ahead up to two batches ─► gather ─► begin, send_batch …, send offsets, await all, commit ─► again

It is no saga engine: it keeps nothing, restores nothing, leaves a partition to no other process and stops at any error.
"""

import argparse
import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

Record = ConsumerRecord[bytes, bytes]

BATCH_RECORDS_MAX = 1000
LINGER_SECONDS = 0.005
GATHER_WITHIN_SECONDS = 0.05
"""A batch gathers only if the one before ended less than this ago: a record alone goes at once."""
BATCH_BYTES = 1_040_000
FETCH_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What it reads, and how much it writes for it."""

    bootstrap: str
    group: str
    events: str
    commands: str
    sagas: str
    partitions: int
    records_per_step: int
    """Records of one partition before the next sizes apply."""
    command_bytes: tuple[int, ...]
    """Size of a command by step; 0: none is sent."""
    saga_bytes: tuple[int, ...]


class Lane:
    """One partition."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._input = TopicPartition(settings.events, partition)
        self._partition = partition
        self._values = [
            (b"c" * command if command else None, b"s" * saga)
            for command, saga in zip(settings.command_bytes, settings.saga_bytes, strict=True)
        ]
        clients: dict[str, Any] = {
            "bootstrap_servers": settings.bootstrap,
            "client_id": "passthrough",
            "request_timeout_ms": 15_000,
            "retry_backoff_ms": 10,
            "metadata_max_age_ms": 30_000,
        }
        self._producer = AIOKafkaProducer(
            **clients,
            transactional_id=f"{settings.group}-{partition}",
            transaction_timeout_ms=15_000,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
            linger_ms=0,
        )
        self._consumer = AIOKafkaConsumer(
            **clients,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=500,
        )
        self._records: deque[Record] = deque()
        self._has_records = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def start(self) -> None:
        """Connect; read from the topic's beginning."""
        await self._producer.start()
        await self._consumer.start()
        self._consumer.assign([self._input])
        self._consumer.seek(self._input, 0)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read())
            group.create_task(self._write())

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()
        await self._producer.stop()

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=3_600_000, max_records=BATCH_RECORDS_MAX)
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
        settings, producer = self._settings, self._producer
        step = min(records[0].offset // settings.records_per_step, len(self._values) - 1)
        command, saga = self._values[step]
        keys = [record.key for record in records]
        await producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        for topic, value in ((settings.commands, command), (settings.sagas, saga)):
            if value is not None:
                sent += [
                    await producer.send_batch(batch, topic, partition=self._partition)
                    for batch in self._build_batches(keys, value)
                ]
        await producer.send_offsets_to_transaction({self._input: records[-1].offset + 1}, settings.group)
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    def _build_batches(self, keys: Sequence[bytes | None], value: bytes) -> list[BatchBuilder]:
        batches = [self._producer.create_batch()]
        append = batches[-1].append
        for key in keys:
            if append(timestamp=None, key=key, value=value) is None:
                batches.append(self._producer.create_batch())
                append = batches[-1].append
                append(timestamp=None, key=key, value=value)
        for batch in batches:
            batch.close()
        return batches


async def run(settings: Settings) -> None:
    """Pass records through until SIGTERM."""
    lanes = [Lane(settings, partition) for partition in range(settings.partitions)]
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


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed, as the engine does."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.passthrough")
    for name in ("bootstrap", "group", "events", "commands", "sagas"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--records-per-step", type=int, required=True)
    parser.add_argument("--command-bytes", type=_sizes, required=True)
    parser.add_argument("--saga-bytes", type=_sizes, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # as the engine: it warns about normal retries
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run(parse()))
