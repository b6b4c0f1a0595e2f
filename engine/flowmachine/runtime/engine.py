"""The engine of one process: starts the log, joins the group, and keeps one task per owned partition.

    log.start ──► membership ──► assignment ──► start tasks of new partitions, stop those of lost ones
        ▲             │
        └── pause ◄───┴── the log is away, a topic is missing, a right is missing: said in the status, tried again

A partition that stays ours across a rebalance is not touched: its task runs on.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from flowmachine.core.definition import Machine
from flowmachine.core.phases import Phase
from flowmachine.errors import ConfigurationError, FlowMachineError, TransientError
from flowmachine.partition.partition import Partition
from flowmachine.partition.settings import PartitionSettings
from flowmachine.ports import Assignment, Clock, CommandSender, Log, Observer, Topics, Tracer
from flowmachine.runtime.backoff import backoff
from flowmachine.runtime.delivery import Delivery, DeliverySettings
from flowmachine.runtime.partition_task import BatchSettings, PartitionTask
from flowmachine.runtime.read_through import ReadThrough

CHECK_SECONDS = 2.0
DRAIN_SECONDS = 20.0
"""How long a batch in hand may take to be committed when the engine is asked to stop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine needs to know besides its machine and its log."""

    command_topics: Mapping[str, tuple[str, ...]]
    retention_finished_ms: int = 3_600_000
    record_bytes_max: int = 1_000_000
    batch: BatchSettings = field(default_factory=BatchSettings)
    has_command_ids: bool = False
    delivery: DeliverySettings = field(default_factory=DeliverySettings)


@dataclass(frozen=True, slots=True)
class Status:
    """How the engine is. `problems` says in sentences why it is not ready; empty when it is."""

    problems: tuple[str, ...]
    phases: Mapping[int, Phase]
    sagas: int
    undelivered: int

    @property
    def is_ready(self) -> bool:
        """Partitions assigned and restored, and the log answers."""
        return not self.problems


class Engine:
    """Runs a machine until `stop`."""

    def __init__(
        self,
        *,
        log: Log,
        machine: Machine,
        settings: EngineSettings,
        observer: Observer,
        clock: Clock,
        senders: Mapping[str, CommandSender],
        read_through: ReadThrough | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.machine = machine
        self.log = log
        self.topics: Topics | None = None
        self.log_started = asyncio.Event()
        """Set once the log has been reached, and the machine's own topics are there."""
        self.assignment: Assignment | None = None
        self._settings = settings
        self._observer = observer
        self._clock = clock
        self._read_through = read_through
        self._tracer = tracer
        self._delivery = Delivery(senders, settings.delivery, observer, tracer)
        self._tasks: dict[int, tuple[PartitionTask, asyncio.Task[None]]] = {}
        self._problem = "starting"
        self._log_problem = ""
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask the engine to drain: finish and commit batches in hand, leave the group, return from `run`."""
        self._stopping.set()

    def reopen(self) -> None:
        """Open every partition again: the log has other credentials."""
        for task, _ in self._tasks.values():
            task.reopen()

    def task(self, partition: int) -> PartitionTask | None:
        """The task of a home partition, if this engine owns it."""
        found = self._tasks.get(partition)
        return found[0] if found else None

    def status(self) -> Status:
        """How it is now."""
        problems = [problem for problem in (self._problem, self._log_problem) if problem]
        phases = {number: task.phase for number, (task, _) in sorted(self._tasks.items())}
        for number, (task, _) in sorted(self._tasks.items()):
            if task.phase is not Phase.RUNNING:
                detail = f": {task.problem}" if task.problem else ""
                problems.append(f"partition {number} is {task.phase.value}{detail}")
        sagas = sum(len(task.partition.sagas) for task, _ in self._tasks.values())
        return Status(tuple(problems), phases, sagas, self._delivery.in_flight)

    async def run(self, address: str) -> None:
        """Until `stop`; never raises for what the log does.

        `address` is where other engines reach this one's HTTP API, as `host:port`.
        """
        checker = asyncio.create_task(self._check_log())
        follower = asyncio.create_task(self._follow_group(address))
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait({follower, checker, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()  # a bug of ours: let it be seen
        finally:
            self._problem = "stopping"
            await self._stop_tasks(list(self._tasks))  # 1. finish what is in hand, 2. let others have it
            for task in (follower, checker, stopped):
                task.cancel()
            await asyncio.gather(follower, checker, stopped, return_exceptions=True)
            try:
                await self.log.stop()
            except FlowMachineError as error:
                _log.warning("the log did not close in order", extra={"reason": str(error)})

    async def _follow_group(self, address: str) -> None:
        pauses = backoff(first_seconds=0.5, seconds_max=10.0)
        while True:
            try:
                self.topics = await self.log.start()
                self.log_started.set()
                self._problem = "waiting for partitions to be assigned"
                async with aclosing(self.log.run_membership(address)) as assignments:
                    async for assignment in assignments:
                        pauses = backoff(first_seconds=0.5, seconds_max=10.0)
                        self._problem = ""
                        await self._follow(assignment)
            except (TransientError, ConfigurationError) as error:
                self._problem = str(error)
                _log.error("the engine waits", extra={"reason": str(error), "code": error.code})
            await asyncio.sleep(next(pauses))

    async def _follow(self, assignment: Assignment) -> None:
        before, self.assignment = self.assignment, assignment
        lost = set(self._tasks) - assignment.owned
        if before is not None and before.input_partitions != assignment.input_partitions:
            lost |= set(self._tasks)  # partitions were added to an input: open all again with their new sources
        _log.info("partitions assigned", extra={"partitions": sorted(assignment.owned), "lost": sorted(lost)})
        await self._stop_tasks(list(lost))
        assert self.topics is not None
        for number in sorted(assignment.owned - set(self._tasks)):
            task = self._new_task(number, self.topics)
            self._tasks[number] = (task, asyncio.create_task(task.run(), name=f"partition {number}"))

    def _new_task(self, number: int, topics: Topics) -> PartitionTask:
        settings = PartitionSettings(
            partition=number,
            home_partitions=topics.home_partitions,
            intake_topic=topics.intake,
            sagas_topic=topics.sagas,
            unmatched_topic=topics.unmatched,
            command_topics=self._settings.command_topics,
            aligned_topics=frozenset(
                topic for topic, count in topics.output_partitions.items() if count == topics.home_partitions
            ),
            retention_finished_ms=self._settings.retention_finished_ms,
            is_read_through=self._read_through is not None,
            record_bytes_max=self._settings.record_bytes_max,
            batch_bytes_max=self._settings.batch.bytes_max,
            has_command_ids=self._settings.has_command_ids,
        )
        return PartitionTask(
            log=self.log,
            partition=Partition(self.machine, settings, None if self._tracer is None else self._tracer.is_sampled),
            batch=self._settings.batch,
            observer=self._observer,
            clock=self._clock,
            delivery=self._delivery,
            read_through=self._read_through,
            tracer=self._tracer,
        )

    async def _stop_tasks(self, numbers: list[int]) -> None:
        stopping = [self._tasks.pop(number) for number in numbers]
        for task, _ in stopping:
            task.stop()
        running = [run for _, run in stopping]
        if running:
            _, late = await asyncio.wait(running, timeout=DRAIN_SECONDS)
            for run in late:
                run.cancel()
            for result in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(result, Exception):
                    _log.error("a partition task ended with an error", exc_info=result)

    async def _check_log(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self.assignment is None:
                continue
            try:
                await self.log.check()
                await self._measure_lag()
            except (TransientError, ConfigurationError) as error:
                self._log_problem = str(error)
            else:
                self._log_problem = ""

    async def _measure_lag(self) -> None:
        for number, (task, _) in list(self._tasks.items()):
            lag = await task.lag()
            if lag is not None:
                self._observer.lagged(number, lag)
