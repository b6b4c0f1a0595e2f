"""A home partition on Kafka: one transactional producer, and one fetching consumer per input topic partition.

aiokafka has no KIP-447, so fencing works by transactional id: `{group}-{partition}`. Starting the producer aborts what
the previous owner left open and makes its later commits fail.

A commit is one transaction; with `is_direct`, where it can be, it goes without one (`wire/journal.py`, `direct.py`).
The group's offsets then follow within a second. Its offset of the changelog says: what stands before it has been sent.

One consumer per topic partition, because a consumer of several holds back a partition that has data until the long poll
for the others ends (design 5).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.producer import sender as aiokafka_sender

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.direct import DirectProducer, journal_record
from flowmachine.adapters.kafka.errors import translated
from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import ConfigurationError, FencedError, FlowMachineError, InvariantError, TransientError
from flowmachine.ports import Source, Topics, Transaction
from flowmachine.wire.journal import JOURNAL_KEY, Journal, decode_journal, encode_journal, is_control, split_direct
from flowmachine.wire.log import InputRecord, OutputRecord

TRANSACTION_TIMEOUT_MS = 15_000
"""How long a dead engine's open transaction may hold back read_committed readers before the broker aborts it."""
COMMIT_TIMEOUT_SECONDS = 30
"""aiokafka retries for ever inside a transaction; past this we drop it and find out what became of it."""
_BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""
_FETCH_BYTES = 2 * 1024 * 1024
_RESTORE_FETCH_BYTES = 8 * 1024 * 1024
_RESTORE_POLL_MS = 500
LATE_OFFSETS_SECONDS = 1.0
"""How far the group's offsets may lag behind what was committed without a transaction: they cost one."""
_CLOSE_COMMIT_SECONDS = 3.0
_RESTORE_CLOSE_SECONDS = 0.2
"""A partition stands still for this long at most: the consumer of a restore has nothing to say goodbye for."""

aiokafka_sender.BACKOFF_OVERRIDE = 0.003
"""Seconds until aiokafka asks again whether the markers of the transaction before are written, which takes the broker
some milliseconds. Its own 20 ms stood in the way of every transaction but the first, and has no option."""

_place = attrgetter("topic", "partition")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PartitionContext:
    """What all partitions of a process share."""

    connection: KafkaConnection
    topics: Topics
    group: str
    legacy_groups: dict[str, str]
    """Input topic -> the group whose offsets count while ours has none (a Flow Manager channel with its own group)."""
    producer: AIOKafkaProducer
    """The process's intake producer: its metadata tells partition counts of output topics."""
    is_direct: bool = False
    """Small batches go without a transaction."""


def consumer_arguments(connection: KafkaConnection, fetch_bytes: int) -> dict[str, Any]:
    """Arguments of a consumer that belongs to no group and reads one partition."""
    return connection.client_arguments() | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": fetch_bytes,
        "fetch_max_wait_ms": 500,
    }


class KafkaSource:
    """One input topic partition, from its committed offset on."""

    def __init__(self, consumer: AIOKafkaConsumer, topic_partition: TopicPartition) -> None:
        self._consumer = consumer
        self._topic_partition = topic_partition

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        return self._topic_partition.topic

    async def position(self) -> int:
        """As the port says."""
        with translated("asking for a position"):
            return int(await self._consumer.position(self._topic_partition))

    async def lag(self) -> int:
        """As the port says: the end is the one that came with the latest records."""
        position = await self.position()
        end = self._consumer.highwater(self._topic_partition)
        return 0 if end is None else max(0, end - position)

    async def fetch(self, records_max: int) -> Sequence[InputRecord]:
        """As the port says. Records that retention removed before we read them are reported, then skipped."""
        topic, partition = self._topic_partition
        while True:
            try:
                with translated(f"reading {topic}/{partition}"):
                    fetched = await self._consumer.getmany(timeout_ms=3_600_000, max_records=records_max)
            except TransientError as error:
                if not isinstance(error.__cause__, kafka.OffsetOutOfRangeError):
                    raise
                await self._skip_removed()
                continue
            for records in fetched.values():
                return records

    async def _skip_removed(self) -> None:
        topic, partition = self._topic_partition
        with translated(f"reading {topic}/{partition}"):
            wanted = await self._consumer.position(self._topic_partition)
            first = (await self._consumer.beginning_offsets([self._topic_partition]))[self._topic_partition]
            end = (await self._consumer.end_offsets([self._topic_partition]))[self._topic_partition]
        target = first if wanted < first else end
        _log.error(
            "input records are gone before they were read: the topic's retention is shorter than the engine's absence",
            extra={"topic": topic, "partition": partition, "offset": wanted, "next_offset": target},
        )
        self._consumer.seek(self._topic_partition, target)


class KafkaPartitionLog:
    """A home partition, opened: this engine alone may commit to it (`flowmachine.ports.PartitionLog`)."""

    def __init__(self, context: PartitionContext, partition: int) -> None:
        self._context = context
        self._partition = partition
        self._changelog = TopicPartition(context.topics.sagas, partition)
        self._consumers: list[AIOKafkaConsumer] = []
        self._sources: list[KafkaSource] = []
        self.restored_to = 0
        self.is_closed = False
        self._direct: DirectProducer | None = None
        self._late_offsets: dict[TopicPartition, int] = {}
        """What the group does not know yet."""
        self._transaction = asyncio.Lock()
        self._offsets_task: asyncio.Task[None] | None = None
        self._failure: FlowMachineError | None = None
        """Why nothing may be committed before the partition has been opened again."""
        self._producer = AIOKafkaProducer(
            **context.connection.client_arguments(),
            transactional_id=f"{context.group}-{partition}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_BATCH_BYTES,
            linger_ms=0,
        )

    @property
    def sources(self) -> Sequence[Source]:
        """One per input topic partition."""
        return self._sources

    async def open(self) -> None:
        """1. fence the previous owner; 2. read the committed offsets; 3. settle its journal; 4. start the consumers.

        The order matters: only after 1 is every earlier transaction either visible or gone, offsets included. 3 is
        left out where nobody has committed without transactions.
        """
        name = f"{self._context.group}-{self._partition}"
        with translated(f"starting transactional producer {name!r}"):
            await self._producer.start()
        offsets = await self._committed_offsets()
        journal_from = offsets.pop(self._changelog)
        if self._context.is_direct or journal_from >= 0:
            offsets |= await self._settle(max(journal_from, 0))
        for topic_partition, offset in offsets.items():
            consumer = AIOKafkaConsumer(**consumer_arguments(self._context.connection, _FETCH_BYTES))
            self._consumers.append(consumer)
            with translated(f"opening {topic_partition.topic}/{topic_partition.partition}"):
                await consumer.start()
                consumer.assign([topic_partition])
                consumer.seek(topic_partition, offset)
            self._sources.append(KafkaSource(consumer, topic_partition))

    async def _settle(self, journal_from: int) -> Mapping[TopicPartition, int]:
        """Keep out who may commit without transactions; send what the last journal holds; offsets that it has moved."""
        context, name = self._context, f"{self._context.group}-{self._partition}-direct"
        direct = DirectProducer(
            context.connection, self._changelog, transactional_id=name, batch_bytes_max=_BATCH_BYTES
        )
        self._direct = direct
        await direct.start()
        journal, end = Journal((), ()), journal_from
        async with aclosing(self._read_changelog(journal_from)) as batches:
            async for records, position in batches:
                end = position
                for record in records:
                    if record.key == JOURNAL_KEY:
                        journal = decode_journal(record.value)
        moved = {TopicPartition(topic, partition): offset for topic, partition, offset in journal.next_offsets}
        self._late_offsets = moved | {self._changelog: end}
        await self.commit_transaction(Transaction(journal.commands, {}))
        if context.is_direct:
            self._offsets_task = asyncio.create_task(self._commit_late_offsets())
        else:
            self._direct = None
            await direct.stop()
        return moved

    async def restore(self, from_offset: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """As the port says; batches are what one fetch brings."""
        end = from_offset
        async with aclosing(self._read_changelog(from_offset)) as batches:
            async for records, position in batches:
                end = position
                if sagas := [record for record in records if not is_control(record.key)]:
                    yield sagas
        self.restored_to = max(end, self.restored_to)

    async def _read_changelog(self, from_offset: int) -> AsyncGenerator[tuple[Sequence[InputRecord], int]]:
        """All records from there to the present end, with the offset behind them; the last batch may be empty."""
        doing = f"restoring from {self._changelog.topic}/{self._partition}"
        consumer = AIOKafkaConsumer(**consumer_arguments(self._context.connection, _RESTORE_FETCH_BYTES))
        try:
            with translated(doing):
                await consumer.start()
                consumer.assign([self._changelog])
                first = (await consumer.beginning_offsets([self._changelog]))[self._changelog]
                end = (await consumer.end_offsets([self._changelog]))[self._changelog]
                position = max(from_offset, first)
                consumer.seek(self._changelog, position)
            while position < end:
                with translated(doing):
                    fetched = await consumer.getmany(timeout_ms=_RESTORE_POLL_MS)
                    position = await consumer.position(self._changelog)
                for records in fetched.values():
                    yield records, position
            yield (), position
        finally:
            await stop_client(consumer, seconds_max=_RESTORE_CLOSE_SECONDS)

    async def commit(self, transaction: Transaction) -> None:
        """As the port says."""
        self._raise_failure()
        if not (transaction.records or transaction.next_offsets):
            return
        if self._direct is None or not await self._commit_directly(self._direct, transaction):
            await self.commit_transaction(transaction)

    async def commit_transaction(self, transaction: Transaction) -> None:
        """Commit in a transaction, together with the offsets that the group does not know yet."""
        late: dict[TopicPartition, int] = {}
        try:
            with translated(f"committing to home partition {self._partition}"):
                async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS), self._transaction:
                    self._raise_failure()
                    moved = {TopicPartition(*place): offset for place, offset in transaction.next_offsets.items()}
                    late = self._late_offsets | moved
                    await self._commit(transaction.records, late)
        except BaseException:  # it may have happened or not: no offset of before may be committed behind it
            self._failure = self._failure or TransientError("the transaction before has not ended")
            raise
        self._late_offsets = {tp: offset for tp, offset in self._late_offsets.items() if offset > late.get(tp, -1)}

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _commit(self, records: Sequence[OutputRecord], offsets: Mapping[TopicPartition, int]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        sent: list[asyncio.Future[Any]] = []
        changelog_end = 0
        for (topic, partition), batch in (await self._batches(producer, records)).items():
            sent += [await producer.send_batch(builder, topic, partition=partition) for builder in batch]
            if (topic, partition) == self._changelog:
                changelog_end = len(sent)
        if offsets:
            await producer.send_offsets_to_transaction(dict(offsets), self._context.group)
        # Every future: an unawaited failed produce would still be committed without its records.
        results = await asyncio.gather(*sent)
        await producer.commit_transaction()
        if changelog_end:
            self.restored_to = max(self.restored_to, results[changelog_end - 1].offset + 1)

    async def _commit_directly(self, direct: DirectProducer, transaction: Transaction) -> bool:
        """Commit without a transaction, if the batch is small and has nothing but saga records and commands.

        1. saga records and journal, as one record batch; 2. the commands. After an error or a cancellation in between
        the journal must not be overwritten: the partition has to be opened again.
        """
        topics = self._context.topics
        split = split_direct(transaction.records, sagas_topic=topics.sagas, output_topics=topics.outputs)
        if split is None:
            return False
        sagas, commands = split
        offsets = self._late_offsets | {TopicPartition(*key): at for key, at in transaction.next_offsets.items()}
        positions = [
            (place.topic, place.partition, offset) for place, offset in offsets.items() if place != self._changelog
        ]
        journal = journal_record(self._changelog, encode_journal(Journal(positions, commands)))
        batch = direct.build([*sagas, journal])
        if batch is None:
            return False
        try:
            with translated(f"committing to home partition {self._partition}"):
                async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                    end = await direct.append(batch)
                    await self._send(direct.client, commands)
        except BaseException:  # the journal must not be overwritten before its commands have been sent
            self._failure = self._failure or TransientError("the batch before has not ended")
            raise
        self._late_offsets |= offsets | {self._changelog: end}
        self.restored_to = max(self.restored_to, end)
        return True

    async def _send(self, producer: AIOKafkaProducer, commands: Sequence[OutputRecord]) -> None:
        sent: list[asyncio.Future[Any]] = []
        for (topic, partition), batch in (await self._batches(producer, commands)).items():
            sent += [await producer.send_batch(builder, topic, partition=partition) for builder in batch]
        await asyncio.gather(*sent)

    async def _commit_late_offsets(self) -> None:
        try:
            while True:
                await asyncio.sleep(LATE_OFFSETS_SECONDS)
                if self._late_offsets:
                    await self.commit_transaction(Transaction((), {}))
        except (FencedError, TransientError, ConfigurationError) as error:
            self._failure = error

    async def _batches(
        self, producer: AIOKafkaProducer, records: Sequence[OutputRecord]
    ) -> dict[tuple[str, int], list[Any]]:
        """Record batches by topic and partition, in the order of `records`."""
        batches: dict[tuple[str, int], list[Any]] = {}
        # Neighbours mostly have their place in common: what is the same for all of them is done once.
        for (topic, partition), run in groupby(records, key=_place):
            if partition is not None:
                _append(producer, batches, (topic, partition), run)
                continue
            count = len(await self._context.producer.partitions_for(topic))
            for record in run:
                _append(producer, batches, (topic, java_murmur2(record.key or b"", count)), (record,))
        for builders in batches.values():
            builders[-1].close()
        return batches

    async def _committed_offsets(self) -> dict[TopicPartition, int]:
        """Where to go on, for every input partition of this home partition; and up to where no journal is left."""
        topics = self._context.topics
        wanted = [TopicPartition(topics.intake, self._partition)]
        for topic, count in topics.input_partitions.items():
            wanted += [TopicPartition(topic, p) for p in range(self._partition, count, topics.home_partitions)]
        offsets = await self._group_offsets(self._context.group, [*wanted, self._changelog])
        for topic, group in self._context.legacy_groups.items():
            unknown = [tp for tp in wanted if tp.topic == topic and offsets[tp] < 0]
            if unknown and group != self._context.group:
                offsets |= await self._group_offsets(group, unknown)
        fresh = [tp for tp in wanted if offsets[tp] < 0]
        return offsets | await self._first_offsets(fresh) if fresh else offsets

    async def _group_offsets(self, group: str, wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
        arguments = self._context.connection.client_arguments()
        del arguments["metadata_max_age_ms"]
        admin = AIOKafkaAdminClient(**arguments)
        try:
            with translated(f"reading the offsets of consumer group {group!r}"):
                await admin.start()
                try:
                    found = await admin.list_consumer_group_offsets(group, partitions=wanted)
                except (
                    AttributeError
                ) as error:  # aiokafka 0.14 trips over the error code of a coordinator still loading
                    raise TransientError(f"the coordinator of group {group!r} is not ready") from error
        finally:
            await stop_client(admin)
        if len(found) != len(wanted):
            # An answer without our partitions is an error, never "no offset": starting over would apply inputs twice.
            raise TransientError(f"the coordinator of group {group!r} did not answer for every partition")
        return {tp: found[tp].offset for tp in wanted}

    async def _first_offsets(self, wanted: list[TopicPartition]) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(**consumer_arguments(self._context.connection, _FETCH_BYTES))
        try:
            with translated("reading the first offsets of the input topics"):
                await consumer.start()
                offsets: dict[TopicPartition, int] = await consumer.beginning_offsets(wanted)
                return offsets
        finally:
            await stop_client(consumer)

    async def close(self) -> None:
        """Stop the clients. An open transaction is left to be fenced: there is nothing in it that anyone may see."""
        if self.is_closed:
            return
        self.is_closed = True
        await self._close_direct()
        for consumer in self._consumers:
            await stop_client(consumer)
        try:
            async with asyncio.timeout(5):
                await self._producer.stop()
        except (kafka.KafkaError, TimeoutError, AssertionError) as error:
            _log.debug("the producer did not stop in order", extra={"reason": repr(error)})

    async def _close_direct(self) -> None:
        """Let the group know how far it has come, if that can be: the next owner then has nothing to repeat."""
        if self._direct is None:
            return
        if self._offsets_task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_COMMIT_SECONDS), self._transaction:  # not in the middle of one
                    self._offsets_task.cancel()
            self._offsets_task.cancel()
            await asyncio.gather(self._offsets_task, return_exceptions=True)
        if self._late_offsets and self._failure is None:
            try:
                async with asyncio.timeout(_CLOSE_COMMIT_SECONDS):
                    await self.commit_transaction(Transaction((), {}))
            except (FencedError, TransientError, ConfigurationError, TimeoutError) as error:
                _log.info("the last offsets were not committed", extra={"reason": str(error)})
        await self._direct.stop()


def _append(
    producer: AIOKafkaProducer,
    batches: dict[tuple[str, int], list[Any]],
    place: tuple[str, int],
    records: Iterable[OutputRecord],
) -> None:
    builders = batches.get(place)
    if builders is None:
        builders = batches[place] = [producer.create_batch()]
    append = builders[-1].append
    for record in records:
        headers = list(record.headers)
        if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
            builders.append(producer.create_batch())
            append = builders[-1].append
            if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
                raise InvariantError(f"a record for {place[0]!r} fits no batch")
