"""The hand-written loop that the engine is compared with: the order machine, hard-coded, and nothing else.

What somebody would write with aiokafka who needs this one machine and knows how to be fast: per partition one consumer
for creations and one for events, one transactional producer, sagas in a dictionary, batches by the engine's rule.

    read ahead up to two batches ─► gather ─► decide ─► begin, send_batch …, send offsets, await all, commit ─► again

It restores nothing, keeps no history, checks nothing, forwards nothing, and stops at any error.
"""

import argparse
import asyncio
import contextlib
import logging
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from bench.passthrough import (
    BATCH_BYTES,
    BATCH_RECORDS_MAX,
    FETCH_BYTES,
    GATHER_WITHIN_SECONDS,
    LINGER_SECONDS,
    loop_factory,
)

Record = ConsumerRecord[bytes, bytes]

STEPS = (
    ("created", "paymentExecuted", "executePayment"),
    ("paid", "orderPrepared", "prepareOrder"),
    ("prepared", "orderDelivered", "deliverOrder"),
    ("delivered", None, None),
)
"""State, the event that it waits for, the command that it sends. What fails is left out: the load never does."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Settings:
    """What it reads and writes."""

    bootstrap: str
    group: str
    intake: str
    events: str
    commands: str
    sagas: str
    partitions: tuple[int, ...]


class Lane:
    """One partition."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._partition = partition
        self._clients: dict[str, Any] = {
            "bootstrap_servers": settings.bootstrap,
            "client_id": "floor",
            "request_timeout_ms": 15_000,
            "retry_backoff_ms": 10,
            "metadata_max_age_ms": 30_000,
        }
        self._producer = AIOKafkaProducer(
            **self._clients,
            transactional_id=f"{settings.group}-{partition}",
            transaction_timeout_ms=15_000,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
            linger_ms=0,
        )
        self._inputs = [TopicPartition(topic, partition) for topic in (settings.intake, settings.events)]
        self._sagas: dict[bytes, tuple[int, dict[str, Any]]] = {}
        self._records: deque[Record] = deque()
        self._has_records = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._producer.start()
        try:
            async with asyncio.TaskGroup() as group:
                for topic_partition in self._inputs:
                    group.create_task(self._read(topic_partition))
                group.create_task(self._write())
        finally:
            await self._producer.stop()

    async def _read(self, topic_partition: TopicPartition) -> None:
        consumer = AIOKafkaConsumer(
            **self._clients,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=500,
        )
        await consumer.start()
        try:
            consumer.assign([topic_partition])
            consumer.seek(topic_partition, 0)
            while True:
                fetched = await consumer.getmany(timeout_ms=3_600_000, max_records=BATCH_RECORDS_MAX)
                await self._has_room.wait()
                for records in fetched.values():
                    self._records.extend(records)
                    self._has_records.set()
                if len(self._records) >= 2 * BATCH_RECORDS_MAX:
                    self._has_room.clear()
        finally:
            await consumer.stop()

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
        commands, sagas = self._decide(records)
        await producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        for topic, written in ((settings.commands, commands), (settings.sagas, sagas)):
            sent += [
                await producer.send_batch(batch, topic, partition=self._partition) for batch in self._batches(written)
            ]
        ends = {TopicPartition(record.topic, record.partition): record.offset + 1 for record in records}
        await producer.send_offsets_to_transaction(ends, settings.group)
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    def _decide(self, records: Sequence[Record]) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
        """Move the sagas; (key, value) of the commands and of the saga records."""
        commands: list[tuple[bytes, bytes]] = []
        changed: list[tuple[bytes, bytes]] = []
        intake, sagas = self._settings.intake, self._sagas
        for record in records:
            key, received = record.key, _decode(record.value or b"")
            assert key is not None
            if record.topic == intake:
                step, metadata = 0, received["metadata"]
            else:
                step, metadata = sagas[key]
                if STEPS[step][1] != received["messageLabel"]:
                    continue
                step, metadata = step + 1, metadata | received["messagePayload"]
            state, event, command = STEPS[step]
            if command is not None:
                commands.append((key, _encode({"messageLabel": command, "messagePayload": metadata})))
            changed.append((key, _encode({"currentState": state, "metadata": metadata, "isFinal": event is None})))
            sagas[key] = (step, metadata)
        return commands, changed

    def _batches(self, written: Sequence[tuple[bytes, bytes]]) -> list[BatchBuilder]:
        if not written:
            return []
        batches = [self._producer.create_batch()]
        append = batches[-1].append
        for key, value in written:
            if append(timestamp=None, key=key, value=value) is None:
                batches.append(self._producer.create_batch())
                append = batches[-1].append
                append(timestamp=None, key=key, value=value)
        for batch in batches:
            batch.close()
        return batches


async def run(settings: Settings) -> None:
    """Move orders until SIGTERM."""
    work = asyncio.gather(*(Lane(settings, partition).run() for partition in settings.partitions))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    print("ready", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await work


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor")
    for name in ("bootstrap", "group", "intake", "events", "commands", "sagas"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=lambda text: tuple(map(int, text.split(","))), required=True)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # as the engine: it warns about normal retries
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run(parse()))
