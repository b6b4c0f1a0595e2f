"""The `Log` port over one SQLite file: an engine's side of it. Participants use `client.py`.

Everything that must be seen together is one SQLite transaction; a home partition's epoch is checked inside it, so
whoever had the partition open before is fenced. Positions are kept here and move only after a call has returned: a
cancelled `fetch` loses nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import final

import msgspec

from flowmachine.adapters.embedded.lock import EngineLock
from flowmachine.adapters.embedded.retention import RETENTION_MS_DEFAULT, SWEEP_SECONDS, sweep
from flowmachine.adapters.embedded.rows import Cursor
from flowmachine.adapters.embedded.schema import SYNCHRONOUS_DEFAULT, Synchronous
from flowmachine.adapters.embedded.store import ReadFrom, Store
from flowmachine.adapters.embedded.worker import StoreWorker, acquire_worker, release_worker
from flowmachine.config.topic_names import OwnTopics
from flowmachine.errors import ConfigurationError, FlowMachineError, InvariantError, TransientError
from flowmachine.ports import Assignment, Clock, Log, PartitionLog, Source, TopicPartition, Topics, Transaction
from flowmachine.wire.log import Fetch, InputRecord, OutputRecord

HOME_PARTITIONS_DEFAULT = 4

_FETCH_RECORDS_MAX = 2_000
RESTORE_RECORDS_MAX = 2_000
"""Records per batch of a restore: a few milliseconds of the file's thread, which the other partitions share."""


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@final
class EmbeddedSource(Source):
    """One partition of an input topic."""

    def __init__(self, worker: StoreWorker, cursor: Cursor) -> None:
        self._worker = worker
        self._cursor = cursor

    @property
    def topic(self) -> str:
        """As `Source.topic`."""
        return self._cursor.topic

    async def position(self) -> int:
        """As `Source.position`."""
        return self._cursor.next_offset

    async def lag(self) -> int:
        """As `Source.lag`."""
        end = await self._worker.read(lambda store: store.end(self._cursor.partition_id))
        return max(0, end - self._cursor.next_offset)

    async def fetch(self) -> Fetch:
        """As `Source.fetch`."""
        records = await self._worker.wait_for_records([self._cursor], _FETCH_RECORDS_MAX)
        self._cursor = msgspec.structs.replace(self._cursor, next_offset=records[-1].offset + 1)
        return Fetch.of(records)


@final
class EmbeddedPartitionLog(PartitionLog):
    """A home partition that was opened with an epoch of its own."""

    def __init__(
        self,
        worker: StoreWorker,
        *,
        sagas: Cursor,
        epoch: int,
        sources: Sequence[Source],
        group: str,
        clock: Clock,
    ) -> None:
        self._worker = worker
        self._sagas = sagas
        self._epoch = epoch
        self._sources = tuple(sources)
        self._group = group
        self._clock = clock
        self._is_open = True

    async def restore(self, from_offset: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """As `PartitionLog.restore`."""
        end = await self._worker.read(lambda store: store.end(self._sagas.partition_id))
        self._sagas = cursor = msgspec.structs.replace(self._sagas, next_offset=from_offset)
        while cursor.next_offset < end:
            batch = await self._worker.read(ReadFrom(cursor, RESTORE_RECORDS_MAX))
            records = [record for record in batch if record.offset < end]
            if not records:  # the rest has been replaced by newer records, or was removed
                break
            yield records
            self._sagas = cursor = msgspec.structs.replace(cursor, next_offset=records[-1].offset + 1)
        self._sagas = msgspec.structs.replace(cursor, next_offset=max(end, from_offset))

    @property
    def restored_to(self) -> int:
        """As `PartitionLog.restored_to`: own commits do not move it, so a repeated restore reads them again."""
        return self._sagas.next_offset

    @property
    def sources(self) -> Sequence[Source]:
        """As `PartitionLog.sources`."""
        return self._sources

    async def commit(self, transaction: Transaction) -> None:
        """As `PartitionLog.commit`."""
        if not self._is_open:
            raise TransientError("this home partition has been closed")
        if transaction.is_empty:
            return
        now_ms = self._clock()
        await self._worker.write(
            lambda store: store.commit(
                transaction,
                changelog=self._sagas,
                epoch=self._epoch,
                group=self._group,
                now_ms=now_ms,
            ),
        )

    async def close(self) -> None:
        """As `PartitionLog.close`."""
        self._is_open = False


@final
class EmbeddedLog(Log):
    """A machine's log in one file. `exclusive` False leaves out the lock: for tests that play two engines."""

    def __init__(
        self,
        path: Path,
        *,
        names: OwnTopics,
        inputs: Sequence[str],
        outputs: Sequence[str],
        group: str,
        home_partitions: int = HOME_PARTITIONS_DEFAULT,
        retention_ms: int = RETENTION_MS_DEFAULT,
        synchronous: Synchronous = SYNCHRONOUS_DEFAULT,
        exclusive: bool = True,
        clock: Clock = wall_clock,
    ) -> None:
        self._path = path
        self._names = names
        self._inputs = tuple(dict.fromkeys(inputs))
        self._outputs = tuple(dict.fromkeys(outputs))
        self._group = group
        self._home_partitions = home_partitions
        self._retention_ms = retention_ms
        self._synchronous: Synchronous = synchronous
        self._clock = clock
        self._lock = EngineLock(path) if exclusive else None
        self._started: StoreWorker | None = None
        self._topics: Topics | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    async def start(self) -> Topics:
        """As `Log.start`; without effect on a log that runs."""
        if self._started is not None and self._topics is not None:
            return self._topics
        if self._lock is not None:
            self._lock.acquire()
        try:
            self._started = await acquire_worker(self._path, self._synchronous)
            topics = await self._started.write(self._create_topics)
        except BaseException:
            await self.stop()
            raise
        self._topics = topics
        self._stopped.clear()
        self._sweeper = asyncio.create_task(self._run_sweeps(self._started))
        return topics

    async def run_membership(self, address: str) -> AsyncGenerator[Assignment]:
        """As `Log.run_membership`."""
        topics = self._running_topics
        partitions = range(topics.home_partitions)
        yield Assignment(
            owned=frozenset(partitions),
            owners=dict.fromkeys(partitions, address),
            input_partitions=topics.input_partitions,
            generation=1,
        )
        await self._stopped.wait()

    async def open_partition(self, partition: int) -> PartitionLog:
        """As `Log.open_partition`."""
        worker, topics = self._worker, self._running_topics
        if not 0 <= partition < topics.home_partitions:
            raise InvariantError(f"there is no home partition {partition}: the log has {topics.home_partitions}")
        inputs = list(_inputs_of(topics, partition))

        def open_and_find(store: Store) -> tuple[Cursor, int, list[Cursor]]:
            sagas_id = store.partition_id((topics.sagas, partition))
            sagas = Cursor(sagas_id, topics.sagas, partition, next_offset=0)
            return sagas, store.open_partition(sagas_id), store.cursors(self._group, inputs)

        sagas, epoch, cursors = await worker.write(open_and_find)
        return EmbeddedPartitionLog(
            worker,
            sagas=sagas,
            epoch=epoch,
            sources=[EmbeddedSource(worker, cursor) for cursor in cursors],
            group=self._group,
            clock=self._clock,
        )

    async def append_intake(self, records: Sequence[OutputRecord]) -> Sequence[int]:
        """As `Log.append_intake`."""
        now_ms = self._clock()
        return await self._worker.write(lambda store: store.append(records, now_ms=now_ms))

    async def intake_end(self, partition: int) -> int:
        """As `Log.intake_end`."""
        intake = self._names.intake
        return await self._worker.read(lambda store: store.end(store.partition_id((intake, partition))))

    async def check(self) -> None:
        """As `Log.check`."""
        await self._worker.read(Store.data_version)

    async def stop(self) -> None:
        """As `Log.stop`."""
        self._stopped.set()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        worker, self._started = self._started, None
        if worker is not None:
            await release_worker(worker, self._synchronous)
        if self._lock is not None:
            self._lock.release()

    @property
    def _worker(self) -> StoreWorker:
        if self._started is None:
            raise TransientError(f"{self._path}: the log is not running")
        return self._started

    @property
    def _running_topics(self) -> Topics:
        if self._topics is None:
            raise TransientError(f"{self._path}: the log is not running")
        return self._topics

    def _create_topics(self, store: Store) -> Topics:
        """Make what is missing, and say what there is: an existing topic keeps its partition count."""
        names = self._names
        store.create_topics([names.intake], partitions=self._home_partitions, is_compacted=False)
        home_partitions = len(store.topic(names.intake).partition_ids)
        store.create_topics([names.sagas], partitions=home_partitions, is_compacted=True)
        if len(store.topic(names.sagas).partition_ids) != home_partitions:
            raise ConfigurationError.of(
                str(self._path),
                "partitions-differ",
                f"the topics {names.intake} and {names.sagas} have different partition counts: they belong to "
                "different machines. Give each machine a file of its own.",
            )
        others = [names.unmatched, *self._inputs, *self._outputs]
        store.create_topics(others, partitions=home_partitions, is_compacted=False)
        topics = Topics(
            intake=names.intake,
            sagas=names.sagas,
            unmatched=names.unmatched,
            inputs=self._inputs,
            outputs=self._outputs,
            home_partitions=home_partitions,
            input_partitions={name: len(store.topic(name).partition_ids) for name in self._inputs},
            output_partitions={name: len(store.topic(name).partition_ids) for name in self._outputs},
        )
        for partition in range(home_partitions):
            store.join_group(self._group, _inputs_of(topics, partition))
        return topics

    async def _run_sweeps(self, worker: StoreWorker) -> None:
        """Delete what has had its time, in small transactions; errors are left to the commits, which meet them too."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            with contextlib.suppress(FlowMachineError):
                deleted = 1
                while deleted:
                    deleted = await worker.write(self._sweep_some)

    def _sweep_some(self, store: Store) -> int:
        return sweep(store, now_ms=self._clock(), retention_ms=self._retention_ms)


def _inputs_of(topics: Topics, partition: int) -> Iterator[TopicPartition]:
    """What a home partition reads: its intake, and of each input topic the partitions with its number modulo N."""
    yield topics.intake, partition
    for name in topics.inputs:
        for number in range(partition, topics.input_partitions[name], topics.home_partitions):
            yield name, number
