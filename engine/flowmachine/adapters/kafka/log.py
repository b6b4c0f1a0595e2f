"""The log of a machine on Kafka (`flowmachine.ports.Log`)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from flowmachine.adapters.kafka.connection import KafkaConnection, KafkaCredentials, stop_client
from flowmachine.adapters.kafka.diagnosis import connected_admin
from flowmachine.adapters.kafka.errors import translated
from flowmachine.adapters.kafka.membership import run_membership
from flowmachine.adapters.kafka.partition import KafkaPartitionLog, PartitionContext
from flowmachine.adapters.kafka.source import consumer_arguments
from flowmachine.adapters.kafka.topics import TopicNames, prepare_topics
from flowmachine.errors import TransientError
from flowmachine.ports import Assignment, Topics
from flowmachine.wire.log import OutputRecord

APPEND_TIMEOUT_SECONDS = 10
CHECK_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class KafkaLogSettings:
    """A machine's place on Kafka."""

    connection: KafkaConnection
    names: TopicNames
    group: str
    legacy_groups: dict[str, str] = field(default_factory=dict)
    is_direct: bool = False
    """Small batches go without a transaction (`wire/journal.py`)."""


class KafkaLog:
    """Opened once per process; `start` may be called again after it has failed."""

    def __init__(self, settings: KafkaLogSettings) -> None:
        self._settings = settings
        self._topics: Topics | None = None
        self._producer: AIOKafkaProducer | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._opened: list[KafkaPartitionLog] = []

    async def start(self) -> Topics:
        """As the port says."""
        settings = self._settings
        self._topics = await prepare_topics(settings.connection, settings.names)
        if self._producer is None:
            self._producer = await _start_producer(settings.connection)
        if self._reader is None:
            self._reader = await _start_reader(settings.connection)
        return self._topics

    async def renew(self, credentials: KafkaCredentials) -> None:
        """Use other credentials from now on; the caller opens the partitions again.

        Raises what the brokers say to them; everything then stays as it was, and works for as long as its connections.
        """
        connection = self._settings.connection
        renewed = KafkaConnection(connection.brokers, connection.client_id, credentials)
        if self._producer is None or self._reader is None:
            connection.credentials = credentials  # not started yet: `start` will see whether they are good
            return
        async with connected_admin(renewed):
            pass  # it says why they are refused
        producer = await _start_producer(renewed)
        try:
            reader = await _start_reader(renewed)
        except BaseException:
            await stop_client(producer)
            raise
        connection.credentials = credentials
        (producer, self._producer), (reader, self._reader) = (self._producer, producer), (self._reader, reader)
        await stop_client(producer)
        await stop_client(reader)

    async def run_membership(self, address: str) -> AsyncGenerator[Assignment]:
        """As the port says. Partitions that someone added to an input topic are known from here on."""
        settings = self._settings
        topics = self._started()
        membership = run_membership(settings.connection, topics, group=settings.group, address=address)
        async with aclosing(membership):
            async for assignment in membership:
                self._topics = msgspec.structs.replace(topics, input_partitions=assignment.input_partitions)
                yield assignment

    async def open_partition(self, partition: int) -> KafkaPartitionLog:
        """As the port says."""
        settings = self._settings
        if self._producer is None:
            raise TransientError("the log has not started")
        context = PartitionContext(
            connection=settings.connection,
            topics=self._started(),
            group=settings.group,
            legacy_groups=settings.legacy_groups,
            producer=self._producer,
            is_direct=settings.is_direct,
        )
        log = KafkaPartitionLog(context, partition)
        try:
            await log.open()
        except BaseException:
            await log.close()
            raise
        self._opened = [other for other in self._opened if not other.is_closed] + [log]
        return log

    async def append_intake(self, records: Sequence[OutputRecord]) -> Sequence[int]:
        """As the port says."""
        if self._producer is None:
            raise TransientError("the log has not started")
        with translated("appending to the intake"):
            async with asyncio.timeout(APPEND_TIMEOUT_SECONDS):
                futures = [
                    await self._producer.send(
                        record.topic,
                        value=record.value,
                        key=record.key,
                        partition=record.partition,
                        timestamp_ms=record.timestamp,
                        headers=list(record.headers),
                    )
                    for record in records
                ]
                return [metadata.offset for metadata in await asyncio.gather(*futures)]

    async def intake_end(self, partition: int) -> int:
        """As the port says."""
        if self._reader is None:
            raise TransientError("the log has not started")
        topic_partition = TopicPartition(self._started().intake, partition)
        with translated("asking for the end of the intake"):
            ends = await self._reader.end_offsets([topic_partition])
        return int(ends[topic_partition])

    async def check(self) -> None:
        """As the port says."""
        if self._reader is None:
            raise TransientError("the log has not started")
        with translated(f"asking {self._settings.connection.address} for metadata"):
            async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
                await self._reader.end_offsets([TopicPartition(self._started().intake, 0)])

    def _started(self) -> Topics:
        if self._topics is None:
            raise TransientError("the log has not started")
        return self._topics

    async def stop(self) -> None:
        """As the port says."""
        for log in self._opened:
            await log.close()
        producer, self._producer = self._producer, None
        reader, self._reader = self._reader, None
        for client in (producer, reader):
            if client is not None:
                await stop_client(client)


async def _start_producer(connection: KafkaConnection) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        **connection.client_arguments(), enable_idempotence=True, acks="all", max_batch_size=1_040_000, linger_ms=0
    )
    try:
        with translated(f"connecting to {connection.address}"):
            await producer.start()
    except BaseException:
        await stop_client(producer)
        raise
    return producer


async def _start_reader(connection: KafkaConnection) -> AIOKafkaConsumer:
    # Ends of the intake are asked for with it. An open transaction there must not hide what `append_intake` has put
    # behind it: whoever has the id of a saga may read that saga at once.
    arguments = consumer_arguments(connection, 1024)
    arguments["isolation_level"] = "read_uncommitted"
    reader = AIOKafkaConsumer(**arguments)
    try:
        with translated(f"connecting to {connection.address}"):
            await reader.start()
    except BaseException:
        await stop_client(reader)
        raise
    return reader
