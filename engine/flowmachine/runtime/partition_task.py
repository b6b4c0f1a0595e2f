"""The task of one home partition: open it, restore its sagas, then batch after batch until it is asked to stop.

    1 open      fence the previous owner, find the committed offsets
    2 restore   read what the changelog has beyond what is in memory
    3 resume    held sagas that may go on, commands over HTTP that nobody has answered
    4 run       gather ─► plan ─► one transaction ─► confirm, again and again
    5 drain     finish the batch in hand, close

Any error of the log drops the batch and starts again at 1 with the sagas that are in memory: what the failed
transaction left behind, if anything, is in the changelog.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from itertools import chain

from flowmachine.core.actions import Outcome
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Loaded, Resumed
from flowmachine.core.phases import Phase, Signal, advance
from flowmachine.core.saga import OutboxEntry, Saga
from flowmachine.errors import ConfigurationError, FencedError, InvariantError, TransientError
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.partition.settings import BATCH_BYTES_MAX
from flowmachine.ports import Clock, Log, Observer, PartitionLog, Source, Tracer, Transaction
from flowmachine.runtime.backoff import backoff
from flowmachine.runtime.delivery import Delivery
from flowmachine.runtime.inbox import Inbox
from flowmachine.runtime.outcomes import IntakeOutcomes
from flowmachine.runtime.read_through import ReadThrough
from flowmachine.wire.outcome import EventOutcome

IDLE_SECONDS = 1.0
"""How often an idle partition looks for finished sagas that may leave memory."""
GATHER_WITHIN_SECONDS = 0.05
"""A batch gathers only if the one before ended less than this ago: a record alone goes at once."""
FENCED_PAUSE_SECONDS = 5.0
"""After being fenced, longer than two heartbeats: had another engine taken the partition, the group would have said so.
What remains is a transaction that the broker gave up because this process was held up, and then we go on."""
RESTORE_STRIDE = 1000
"""Sagas that are taken into memory in one go, some milliseconds."""
_CAUGHT_UP_POLL_SECONDS = 0.02

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Bounds of a batch: at most `records_max` records, fewer large ones; under load it gathers for `linger_ms`."""

    records_max: int = 2000
    linger_ms: int = 5
    bytes_max: int = BATCH_BYTES_MAX


@dataclass(frozen=True, slots=True)
class _Commit:
    """A batch on its way into the log."""

    plan: BatchPlan
    finished: int
    """Fetches whose records are all in this batch or in earlier ones."""
    task: asyncio.Task["_Committed"]


@dataclass(frozen=True, slots=True)
class _Committed:
    """How long a transaction took, and when it was over."""

    seconds: float
    at_ms: int


class PartitionTask:
    """Runs one partition. `run` returns when it has been stopped; every other end is tried again."""

    def __init__(
        self,
        *,
        log: Log,
        partition: Partition,
        batch: BatchSettings,
        observer: Observer,
        clock: Clock,
        delivery: Delivery,
        read_through: ReadThrough | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.partition = partition
        self.number = partition.settings.partition
        self.phase = Phase.ASSIGNED
        self.problem = ""
        self._log = log
        self._batch = batch
        self._observer = observer
        self._clock = clock
        self._delivery = delivery
        self._read_through = read_through
        self._tracer = tracer
        self._inbox = Inbox(batch.records_max, batch.bytes_max)
        self._stopping = asyncio.Event()
        self._restored_to = 0
        self._settled = 0
        """Fetches of the inbox whose records have all been committed."""
        self._in_flight = 0
        """Records that have been planned and are not committed."""
        self._committed_at = 0.0
        self._sources: Sequence[Source] = ()
        self._intake: Source | None = None
        self._outcomes = IntakeOutcomes(partition.settings.intake_topic, self.number)

    def stop(self) -> None:
        """Ask the task to finish its batch and end."""
        self._signal(Signal.STOP)
        self._stopping.set()
        self._inbox.close()

    def reopen(self) -> None:
        """Ask the task to finish its batch, then to open the partition again; what is in memory stays."""
        self._inbox.close()

    async def run(self) -> None:
        """Until `stop`."""
        pauses = backoff(first_seconds=0.1, seconds_max=5.0)
        while not self._stopping.is_set():
            try:
                self._signal(Signal.START)
                await self._run_opened()
            except FencedError as error:
                await self._pause(error, FENCED_PAUSE_SECONDS)
            except (TransientError, ConfigurationError, InvariantError) as error:
                await self._pause(error, next(pauses))
            except Exception as error:  # noqa: BLE001 - a bug of ours stops this partition, visibly, and no other
                _log.exception("unexpected error", extra={"partition": self.number})
                await self._pause(InvariantError(f"unexpected {type(error).__name__}: {error}"), next(pauses))
            else:
                pauses = backoff(first_seconds=0.1, seconds_max=5.0)
            finally:
                self._delivery.release(self.number)
                if self._read_through is not None:
                    self._read_through.release(self.number)
        self._signal(Signal.STOPPED)

    async def _pause(
        self, error: FencedError | TransientError | ConfigurationError | InvariantError, seconds: float
    ) -> None:
        self.problem = str(error)
        self._observer.transaction_failed(self.number, error.code)
        self._signal(Signal.ERROR)
        _log.warning(
            "partition stopped, will start again from the last commit",
            extra={
                "partition": self.number,
                "reason": str(error),
                "code": error.code,
                "pause_seconds": round(seconds, 2),
            },
        )
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _run_opened(self) -> None:
        self._inbox = Inbox(
            self._batch.records_max, self._batch.bytes_max
        )  # first: `reopen` may come at any time from here on
        self._settled = self._in_flight = 0
        log = await self._log.open_partition(self.number)
        readers: list[asyncio.Task[None]] = []
        try:
            if self._stopping.is_set():
                return
            self._signal(Signal.OPENED)
            self._sources = log.sources
            await self._restore(log)
            self._resume()
            self._intake = next((s for s in log.sources if s.topic == self.partition.settings.intake_topic), None)
            if self._intake is not None:
                self._outcomes.opened(await self._intake.position())
            readers = [asyncio.create_task(self._read(source), name=f"read {source.topic}") for source in log.sources]
            self._signal(Signal.RESTORED)
            self.problem = ""
            if self._stopping.is_set():
                return
            await self._run_batches(log)
        finally:
            self._sources, self._intake = (), None
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            await log.close()

    async def _restore(self, log: PartitionLog) -> None:
        started_ms = self._clock()
        count = 0
        latest: dict[bytes, bytes | None] = {}  # most sagas stand in the changelog several times; only the last counts
        async with aclosing(log.restore(self._restored_to)) as batches:
            async for records in batches:
                for record in records:
                    if record.key:
                        latest.pop(record.key, None)
                        latest[record.key] = record.value
                count += len(records)
                await asyncio.sleep(0)  # a long restore must not starve the other partitions
        for position, (key, value) in enumerate(latest.items()):
            self.partition.sagas.restore(key, value)
            if position % RESTORE_STRIDE == 0:
                await asyncio.sleep(0)
        seconds = (self._clock() - started_ms) / 1000
        self._restored_to = max(self._restored_to, log.restored_to)
        self._observer.restored(self.number, count, seconds)
        self._count_sagas()
        _log.info(
            "partition restored",
            extra={"partition": self.number, "records": count, "sagas": len(self.partition.sagas), "seconds": seconds},
        )

    def _resume(self) -> None:
        for key in self.partition.sagas.needing_work():
            if self.partition.is_resumable(key):
                self._inbox.put_internal(Resumed(SagaId(key.decode()), self._clock()))
            if self.partition.is_awaited(key):
                self._load(key.decode())
            self._deliver(key.decode(), self.partition.outbox(key))

    async def _read(self, source: Source) -> None:
        try:
            while True:
                await self._inbox.put(source.topic, await source.fetch())
        except Exception as error:  # noqa: BLE001 - the partition task must hear of whatever ended the reading
            self._inbox.fail(error)

    async def _run_batches(self, log: PartitionLog) -> None:
        """Batch after batch. While one is being committed the next gathers, and once it is whole is planned."""
        under_way: _Commit | None = None
        try:
            while await self._inbox.wait(IDLE_SECONDS):
                await self._gather()
                internal = self._inbox.take_internal()
                after = under_way.plan if under_way is not None else None
                with closing(self._inbox.take_pieces()) as pieces:
                    records = chain.from_iterable(pieces)
                    plan = self.partition.plan(records, internal, self._clock(), after=after)
                self._inbox.put_back(internal[plan.internal_taken :])
                self._in_flight += plan.records_taken
                if under_way is not None:
                    await self._finish(log, under_way)
                under_way = self._start_commit(log, plan)
                await _either(under_way.task, self._inbox.full)
                if under_way.task.done():
                    await self._finish(log, under_way)
                    under_way = None
            if under_way is not None:
                await self._finish(log, under_way)
                under_way = None
        finally:
            if under_way is not None:
                under_way.task.cancel()
                await asyncio.gather(under_way.task, return_exceptions=True)

    async def _gather(self) -> None:
        """Under load give a batch a moment to grow."""
        now = asyncio.get_running_loop().time()
        if now - self._committed_at < GATHER_WITHIN_SECONDS and not self._inbox.full.is_set():
            await asyncio.sleep(self._batch.linger_ms / 1000)

    def _start_commit(self, log: PartitionLog, plan: BatchPlan) -> "_Commit":
        async def commit() -> _Committed:
            loop = asyncio.get_running_loop()
            started = loop.time()
            await log.commit(Transaction(plan.records, plan.next_offsets, plan.changed, plan.commands))
            if plan.is_empty:
                return _Committed(0.0, 0)
            self._committed_at = loop.time()
            return _Committed(self._committed_at - started, self._clock())

        return _Commit(plan, self._inbox.finished, asyncio.create_task(commit()))

    async def _finish(self, log: PartitionLog, commit: "_Commit") -> None:
        """Wait for a commit and make its plan true in memory. Raises what the log ran into; the plan is then void."""
        committed = await commit.task
        self.partition.confirm(commit.plan)
        self._restored_to = max(self._restored_to, log.restored_to)  # only now: what is not in memory must be read
        if not commit.plan.is_empty:
            self._report(commit.plan, committed)
        self._settled = commit.finished
        self._in_flight -= commit.plan.records_taken

    def _report(self, plan: BatchPlan, committed: _Committed) -> None:
        self._observer.committed(self.number, plan, committed.seconds, committed.at_ms)
        if self._tracer is not None:
            self._tracer.committed(plan.traced, committed.at_ms)
        self._outcomes.committed(plan)
        self._count_sagas()
        for saga_id, outbox in plan.outboxes.items():
            self._deliver(saga_id, outbox)
        for saga_id in plan.resumable:
            self._inbox.put_internal(Resumed(SagaId(saga_id), self._clock()))
        for failed in plan.failed_hooks:
            _log.error(
                "hook failed, side command left out" if failed.failure.is_side_command else "hook failed, saga held",
                extra={
                    "saga_id": failed.saga_id,
                    "state": failed.state,
                    "command": failed.failure.command or "",
                    "reason": failed.failure.reason,
                },
            )
        for saga_id in plan.awaited:
            self._load(saga_id)
        for unmatched in plan.unmatched:
            _log.log(
                logging.INFO if unmatched.outcome is Outcome.DUPLICATE else logging.WARNING,
                "input changed nothing: %s",
                unmatched.outcome.value,
                extra={
                    "outcome": unmatched.outcome.value,
                    "origin": unmatched.origin,
                    "saga_id": unmatched.saga_id,
                    "event": unmatched.label,
                    "reason": unmatched.reason,
                },
            )

    def _count_sagas(self) -> None:
        sagas = self.partition.sagas
        self._observer.sagas_counted(self.number, sagas.by_state, sagas.held_by_state)

    def _load(self, saga_id: str) -> None:
        if self._read_through is None:
            self._loaded(saga_id, None, "`persistence.readThrough` has been turned off")
        else:
            self._read_through.request(self.number, saga_id, self._loaded)

    def _loaded(self, saga_id: str, saga: Saga | None, reason: str) -> None:
        self._inbox.put_internal(Loaded(SagaId(saga_id), saga, reason, self._clock()))

    def _deliver(self, saga_id: str, outbox: tuple[OutboxEntry, ...]) -> None:
        self._delivery.update(self.number, saga_id, outbox, self._settle)

    def _settle(self, saga_id: str, entry_id: str, failure: str | None) -> None:
        now_ms = self._clock()
        if failure is None:
            self._inbox.put_internal(CommandDelivered(SagaId(saga_id), entry_id, now_ms))
        else:
            self._inbox.put_internal(CommandFailed(SagaId(saga_id), entry_id, failure, now_ms))

    async def lag(self) -> int | None:
        """How many records of its inputs are not committed; None while it reads none. Raises TransientError."""
        if not self._sources:
            return None
        unread = [await source.lag() for source in self._sources]
        return sum(unread) + self._inbox.count + self._in_flight

    async def wait_outcome(self, offset: int) -> EventOutcome:
        """What became of the event at an offset of the intake, once it has been handled. Raises TransientError."""
        while not self._outcomes.is_handled(offset):
            if self.phase in (Phase.RELEASED, Phase.DRAINING):
                raise TransientError(f"home partition {self.number} is moving to another engine")
            await asyncio.sleep(_CAUGHT_UP_POLL_SECONDS)
        outcome = self._outcomes.find(offset)
        if outcome is None:
            raise TransientError("the event has been handled, but it is not known any more what became of it")
        return outcome

    async def wait_caught_up(self, intake_end: int) -> None:
        """Return once everything before `intake_end` in the intake is applied. Raises TransientError if it stops."""
        while self._intake is None or await self._intake.position() < intake_end:
            if self.phase in (Phase.RELEASED, Phase.DRAINING):
                raise TransientError(f"home partition {self.number} is moving to another engine")
            await asyncio.sleep(_CAUGHT_UP_POLL_SECONDS)
        target = self._inbox.received
        while self._settled < target:
            if self.phase is not Phase.RUNNING:
                raise TransientError(f"home partition {self.number} is {self.phase.value}")
            await asyncio.sleep(_CAUGHT_UP_POLL_SECONDS)

    def _signal(self, signal: Signal) -> None:
        phase = advance(self.phase, signal)
        if phase is not self.phase:
            self.phase = phase
            self._observer.phase_changed(self.number, phase)


async def _either(task: asyncio.Task[_Committed], event: asyncio.Event) -> None:
    """Return when the task has ended, however, or the event is set."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
