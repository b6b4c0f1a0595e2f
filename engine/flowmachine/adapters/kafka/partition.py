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
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.producer import sender as aiokafka_sender

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.direct import DirectProducer
from flowmachine.adapters.kafka.errors import translated
from flowmachine.adapters.kafka.offsets import find_offsets
from flowmachine.adapters.kafka.record_batches import BATCH_BYTES, build_batches, build_changelog
from flowmachine.adapters.kafka.source import FETCH_BYTES, UNPACKED_RECORDS_MAX, KafkaSource, consumer_arguments
from flowmachine.errors import ConfigurationError, FencedError, FlowMachineError, TransientError
from flowmachine.ports import Source, Topics, Transaction
from flowmachine.wire.journal import JOURNAL_KEY, Journal, decode_journal, encode_journal, is_control
from flowmachine.wire.log import CommandRecords, InputRecord, OutputRecord, commands_as_output

TRANSACTION_TIMEOUT_MS = 15_000
"""How long a dead engine's open transaction may hold back read_committed readers before the broker aborts it."""
COMMIT_TIMEOUT_SECONDS = 30
"""aiokafka retries for ever inside a transaction; past this we drop it and find out what became of it."""
ANSWER_TIMEOUT_SECONDS = 30
"""aiokafka retries much for ever, in silence; past this the partition says what it waited for, and is opened anew."""
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
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
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
        context = self._context
        name = f"{context.group}-{self._partition}"
        with translated(f"starting transactional producer {name!r}"):
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await self._producer.start()
        with translated(f"asking for the offsets of consumer group {context.group!r}"):
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                offsets = await find_offsets(
                    context.connection, context.group, self._inputs(), self._changelog, context.legacy_groups
                )
        journal_from = offsets.pop(self._changelog)
        if context.is_direct or journal_from >= 0:
            offsets |= await self._settle(max(journal_from, 0))
        for topic_partition, offset in offsets.items():
            consumer = AIOKafkaConsumer(**consumer_arguments(context.connection, FETCH_BYTES))
            self._consumers.append(consumer)
            with translated(f"opening {topic_partition.topic}/{topic_partition.partition}"):
                async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                    await consumer.start()
                consumer.assign([topic_partition])
                consumer.seek(topic_partition, offset)
            self._sources.append(KafkaSource(consumer, topic_partition))

    def _inputs(self) -> list[TopicPartition]:
        """All that this home partition reads."""
        topics = self._context.topics
        return [
            TopicPartition(topics.intake, self._partition),
            *(
                TopicPartition(topic, partition)
                for topic, count in topics.input_partitions.items()
                for partition in range(self._partition, count, topics.home_partitions)
            ),
        ]

    async def _count_partitions(self, topic: str) -> int:
        return len(await self._context.producer.partitions_for(topic))

    async def _settle(self, journal_from: int) -> Mapping[TopicPartition, int]:
        """Keep out who may commit without transactions; send what the last journal holds; offsets that it has moved."""
        context, name = self._context, f"{self._context.group}-{self._partition}-direct"
        direct = DirectProducer(context.connection, self._changelog, transactional_id=name)
        self._direct = direct
        with translated(f"taking over home partition {self._partition} without transactions"):
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
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
        """As the port says."""
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
                async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                    await consumer.start()
                    consumer.assign([self._changelog])
                    first = (await consumer.beginning_offsets([self._changelog]))[self._changelog]
                    end = (await consumer.end_offsets([self._changelog]))[self._changelog]
                position = max(from_offset, first)
                consumer.seek(self._changelog, position)
            while position < end:
                with translated(doing):
                    async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                        while not (
                            fetched := await consumer.getmany(
                                timeout_ms=_RESTORE_POLL_MS, max_records=UNPACKED_RECORDS_MAX
                            )
                        ):
                            if await consumer.position(self._changelog) > position:
                                break  # there was nothing but markers of transactions
                    position = await consumer.position(self._changelog)
                for records in fetched.values():
                    yield records, position
            yield (), position
        finally:
            await stop_client(consumer, seconds_max=_RESTORE_CLOSE_SECONDS)

    async def commit(self, transaction: Transaction) -> None:
        """As the port says."""
        self._raise_failure()
        if transaction.is_empty:
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
                    await self._commit(transaction, late)
        except BaseException:  # it may have happened or not: no offset of before may be committed behind it
            self._failure = self._failure or TransientError("the transaction before has not ended")
            raise
        self._late_offsets = {tp: offset for tp, offset in self._late_offsets.items() if offset > late.get(tp, -1)}

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _commit(self, transaction: Transaction, offsets: Mapping[TopicPartition, int]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        sent = await self._send(producer, transaction.records, transaction.commands, is_transactional=True)
        if transaction.sagas:
            for builder in build_changelog(transaction.sagas, is_transactional=True):
                sent.append(await producer.send_batch(builder, self._changelog.topic, partition=self._partition))
        if offsets:
            await producer.send_offsets_to_transaction(dict(offsets), self._context.group)
        # Every future: an unawaited failed produce would still be committed without its records.
        results = await asyncio.gather(*sent)
        await producer.commit_transaction()
        if transaction.sagas:
            self.restored_to = max(self.restored_to, results[-1].offset + 1)

    async def _send(
        self,
        producer: AIOKafkaProducer,
        records: Sequence[OutputRecord],
        commands: CommandRecords,
        *,
        is_transactional: bool,
    ) -> list[asyncio.Future[Any]]:
        """Hand records to a producer; they are safe once the futures are done."""
        batches = await build_batches(records, commands, self._count_partitions, is_transactional=is_transactional)
        return [
            await producer.send_batch(builder, topic, partition=partition)
            for (topic, partition), builders in batches.items()
            for builder in builders
        ]

    async def _commit_directly(self, direct: DirectProducer, transaction: Transaction) -> bool:
        """Commit without a transaction, if the batch is small and has only what may be written twice.

        1. saga records and journal, as one record batch; 2. the commands. After an error or a cancellation in between
        the journal must not be overwritten: the partition has to be opened again.
        """
        if transaction.records:
            return False
        offsets = self._late_offsets | {TopicPartition(*key): at for key, at in transaction.next_offsets.items()}
        positions = [
            (place.topic, place.partition, offset) for place, offset in offsets.items() if place != self._changelog
        ]
        journal = Journal(positions, commands_as_output(transaction.commands))
        batch = direct.build({**transaction.sagas, JOURNAL_KEY: encode_journal(journal)})
        if batch is None:
            return False
        try:
            with translated(f"committing to home partition {self._partition}"):
                async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                    end = await direct.append(batch)
                    sent = await self._send(direct.client, (), transaction.commands, is_transactional=False)
                    await asyncio.gather(*sent)
        except BaseException:  # the journal must not be overwritten before its commands have been sent
            self._failure = self._failure or TransientError("the batch before has not ended")
            raise
        self._late_offsets |= offsets | {self._changelog: end}
        self.restored_to = max(self.restored_to, end)
        return True

    async def _commit_late_offsets(self) -> None:
        try:
            while True:
                await asyncio.sleep(LATE_OFFSETS_SECONDS)
                if self._late_offsets:
                    await self.commit_transaction(Transaction((), {}))
        except (FencedError, TransientError, ConfigurationError) as error:
            self._failure = error

    async def close(self) -> None:
        """Stop the clients. An open transaction is left to be fenced: there is nothing in it that anyone may see."""
        if self.is_closed:
            return
        self.is_closed = True
        await self._close_direct()
        for consumer in self._consumers:
            await stop_client(consumer)
        await stop_client(self._producer)

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
