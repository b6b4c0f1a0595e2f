"""What participants and tests use: appending to topics of the file, and reading them with a group's offsets.

    async with EmbeddedClient(path) as client:
        consumer = client.consume(["orders-commands"], group="warehouse")
        async for records in consumer:
            await consumer.commit(produce=[reply_to(record) for record in records])

In the engine's process a client shares the engine's thread: each wakes the other at once. In another process it notices
new records within some 15 ms. A group's members are not told apart: use one consumer per group and topic.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, final

import msgspec

from flowmachine.adapters.embedded.log import HOME_PARTITIONS_DEFAULT, wall_clock
from flowmachine.adapters.embedded.rows import Cursor
from flowmachine.adapters.embedded.schema import SYNCHRONOUS_DEFAULT, Synchronous
from flowmachine.adapters.embedded.store import ReadFrom, Store
from flowmachine.adapters.embedded.worker import StoreWorker, acquire_worker, release_worker
from flowmachine.errors import TransientError
from flowmachine.ports import Clock, TopicPartition
from flowmachine.wire.log import InputRecord, OutputRecord

BATCH_RECORDS_MAX = 500
"""Records that a consumer returns at a time, unless told otherwise."""

StartAt = Literal["beginning", "end"]


@final
class EmbeddedConsumer:
    """Reads topics with a group's offsets, at least once: what `commit` has not covered is read again after a restart.

    An asynchronous iterator of batches. Records of one partition come in their order; partitions take turns.
    """

    def __init__(
        self,
        client: "EmbeddedClient",
        topics: Sequence[str],
        *,
        group: str,
        records_max: int,
        new_group_starts_at: StartAt,
    ) -> None:
        self._client = client
        self._topics = tuple(topics)
        self._group = group
        self._records_max = records_max
        self._new_group_starts_at: StartAt = new_group_starts_at
        self._cursors: list[Cursor] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[InputRecord]:
        if self._cursors is None:
            self._cursors = await self._client.worker.write(self._join)
        records = await self._client.worker.wait_for_records(self._cursors, self._records_max)
        next_offsets = {(record.topic, record.partition): record.offset + 1 for record in records}
        moved = [_moved(cursor, next_offsets) for cursor in self._cursors]
        self._cursors = moved[1:] + moved[:1]  # another partition is first next time
        return records

    async def commit(self, produce: Sequence[OutputRecord] = ()) -> None:
        """Have the group go on behind all batches returned so far, and append `produce` in the same transaction."""
        next_offsets = {(cursor.topic, cursor.partition): cursor.next_offset for cursor in self._cursors or ()}
        now_ms = self._client.clock()

        def commit(store: Store) -> None:
            store.append(produce, now_ms=now_ms)
            store.set_offsets(self._group, next_offsets)

        await self._client.worker.write(commit)

    def _join(self, store: Store) -> list[Cursor]:
        partitions: list[TopicPartition] = [
            (topic, number) for topic in self._topics for number in range(len(store.topic(topic).partition_ids))
        ]
        store.join_group(self._group, partitions, at_end=self._new_group_starts_at == "end")
        return store.cursors(self._group, partitions)


@final
class EmbeddedClient:
    """A participant's access to the file, while an engine uses it or not; makes the file if there is none."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: Synchronous = SYNCHRONOUS_DEFAULT,
        clock: Clock = wall_clock,
    ) -> None:
        self.clock = clock
        self._path = path
        self._synchronous: Synchronous = synchronous
        self._started: StoreWorker | None = None

    async def start(self) -> None:
        """Open the file. Raises ConfigurationError (damaged, foreign, not accessible), TransientError."""
        self._started = await acquire_worker(self._path, self._synchronous)

    async def stop(self) -> None:
        """Close it; waiting consumers get TransientError when nobody else in this process uses the file."""
        worker, self._started = self._started, None
        if worker is not None:
            await release_worker(worker, self._synchronous)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def create_topics(self, names: Sequence[str], *, partitions: int = HOME_PARTITIONS_DEFAULT) -> None:
        """Make topics that are missing; for participants that start before the engine has made its own."""
        await self.worker.write(lambda store: store.create_topics(names, partitions=partitions, is_compacted=False))

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        """Append records, all or none; safe on return. Raises ConfigurationError (no such topic), TransientError."""
        now_ms = self.clock()
        await self.worker.write(lambda store: store.append(records, now_ms=now_ms))

    def consume(
        self,
        topics: Sequence[str],
        *,
        group: str,
        records_max: int = BATCH_RECORDS_MAX,
        new_group_starts_at: StartAt = "beginning",
    ) -> EmbeddedConsumer:
        """A consumer that goes on where the group's last commit was."""
        return EmbeddedConsumer(
            self,
            topics,
            group=group,
            records_max=records_max,
            new_group_starts_at=new_group_starts_at,
        )

    async def read_all(self, topic: str) -> list[InputRecord]:
        """Everything a topic holds now, partition by partition, without a group; for tests and for looking around."""
        records: list[InputRecord] = []
        for number, partition_id in enumerate((await self.worker.read(lambda store: store.topic(topic))).partition_ids):
            cursor = Cursor(partition_id, topic, number, next_offset=0)
            while batch := await self.worker.read(ReadFrom(cursor, BATCH_RECORDS_MAX)):
                records.extend(batch)
                cursor = msgspec.structs.replace(cursor, next_offset=batch[-1].offset + 1)
        return records

    @property
    def worker(self) -> StoreWorker:
        """The file's thread. Raises TransientError if the client has not been started."""
        if self._started is None:
            raise TransientError(f"{self._path}: the client is not running")
        return self._started


def _moved(cursor: Cursor, next_offsets: dict[TopicPartition, int]) -> Cursor:
    next_offset = next_offsets.get((cursor.topic, cursor.partition))
    return cursor if next_offset is None else msgspec.structs.replace(cursor, next_offset=next_offset)
