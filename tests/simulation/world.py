"""Everything that a seed decides, put together: a broker, engines (the real runtime), participants, clients, faults.

`simulate(seed)` runs one seed to its end: a time of faults, then a time of peace in which all must come right, then the
judgement. The same seed does the same again, to the last step.
"""

import asyncio
import gc
import logging
import random as global_random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from random import Random
from typing import TypeVar

from flowmachine.core.definition import Payload
from flowmachine.errors import FlowMachineError, TransientError
from flowmachine.partition.settings import BATCH_BYTES_MAX
from flowmachine.runtime.delivery import DeliverySettings
from flowmachine.runtime.engine import Engine, EngineSettings
from flowmachine.runtime.gateway import Gateway, GatewaySettings
from flowmachine.runtime.partition_task import BatchSettings
from flowmachine.wire.outcome import EventOutcome, IntakePlace
from tests.simulation.broker import Broker
from tests.simulation.direct import DirectPartitionLog, SettlingPartitionLog
from tests.simulation.history import History
from tests.simulation.log import Names, SimulatedLog, SimulatedPartitionLog
from tests.simulation.loop import NOBODY, Process, SimulatedLoop
from tests.simulation.machines import LAST_REVISION, REVISIONS, Hooks, shop
from tests.simulation.network import Network
from tests.support.delivery_fakes import RecordingObserver

EVENTS, COMMANDS = "events", "commands"
NAMES = Names("shop.intake", "shop.sagas", "shop.unmatched", (EVENTS,), (COMMANDS,))
COMMAND_TOPICS = {"log": (COMMANDS,)}
RETENTION_MS, SHORT_RETENTION_MS = 3_600_000, 120_000
"""The short one is longer than a client goes on asking for a saga: what it asks for late must not begin anew."""
CLOCK_JUMP_MS_MAX, SMALL_CLOCK_JUMP_MS_MAX = 600_000, 15_000
RECORD_BYTES_MAX = 20_000
CALL_SECONDS = 8.0

_T = TypeVar("_T")


class EngineHost:
    """A place where an engine runs: it may die, be paused, and come back under the same address."""

    def __init__(self, world: "World", number: int) -> None:
        self.address = f"engine-{number}"
        latency_seconds = world.random.choice((0.002, 0.005, 0.1))
        self.network = Network(self.address, world.random, world.history, latency_seconds=latency_seconds)
        self.skew_ms = 0
        self.revision = world.first_revision
        """Of the machine that it runs when it starts the next time."""
        self.is_direct = world.is_direct
        """Whether it then commits without transactions (`delivery: atLeastOnce`)."""
        self.process: Process | None = None
        self.engine: Engine | None = None
        self.gateway: Gateway | None = None
        self._world = world

    @property
    def is_up(self) -> bool:
        """It runs, or is paused."""
        return self.process is not None and not self.process.is_dead

    def start(self) -> None:
        """Start a new engine, with nothing but what the log has."""
        world = self._world
        delivery = "without" if self.is_direct else "with"
        world.history.note(self.address, f"starts with {self.revision}, {delivery} transactions")
        self.process = Process(self.address)
        world.processes.append(self.process)
        self.engine = Engine(
            log=SimulatedLog(
                world.broker,
                self.network,
                NAMES,
                world.partition_log(is_direct=self.is_direct),
            ),
            machine=world.machines[self.revision],
            settings=EngineSettings(
                command_topics=COMMAND_TOPICS,
                retention_finished_ms=world.retention_ms,
                record_bytes_max=RECORD_BYTES_MAX,
                batch=world.batch,
                has_command_ids=self.is_direct,
                delivery=DeliverySettings(attempts_max=100_000, side_attempts_max=100_000, pause_seconds_max=2.0),
            ),
            observer=RecordingObserver(),
            clock=lambda: world.loop.wall_ms() + self.skew_ms,
            senders={"rest": RestSender(world, self.network)},
        )
        peers = Peers(world)
        self.gateway = Gateway(self.engine, GatewaySettings(align_partitioners=("java",)), peers, peers)
        self.process.spawn(world.loop, self._run(self.engine, self.process))

    async def _run(self, engine: Engine, process: Process) -> None:
        await engine.run(self.address)
        self._world.history.note(self.address, "has ended")
        process.is_dead = True

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None and not self.process.is_dead:
            self._world.history.note(self.address, "killed")
            self.process.kill()

    def resume(self) -> None:
        """SIGCONT, if it is paused."""
        if self.process is not None and self.process.is_paused:
            self._world.history.note(self.address, "goes on")
            self._world.loop.resume(self.process)


class RestSender:
    """The engine's side of the REST channel."""

    def __init__(self, world: "World", network: Network) -> None:
        self._world = world
        self._network = network

    async def send(
        self, *, saga_id: str, label: str, payload: Payload, idempotency_key: str, headers: Mapping[str, str]
    ) -> None:
        del payload, headers
        endpoint = self._world.endpoint
        assert endpoint is not None
        await self._network.request(
            f"POST {label} {idempotency_key}",
            lambda: endpoint(saga_id, label, idempotency_key),
            takes_seconds=self._world.random.random() * self._world.endpoint_seconds,
        )


class Peers:
    """Reads from another engine."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def read(self, address: str, saga_id: str) -> bytes | None:
        host = next(host for host in self._world.hosts if host.address == address)
        return await self._world.call(host, lambda gateway: gateway.read(saga_id, is_from_peer=True))

    async def outcome(self, address: str, place: IntakePlace) -> EventOutcome:
        host = next(host for host in self._world.hosts if host.address == address)
        return await self._world.call(host, lambda gateway: gateway.outcome(place, is_from_peer=True))


class World:
    """One simulation."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.loop = SimulatedLoop(Random(seed + 1))
        self.history = History(self.loop.time)
        draw = self.random
        self.is_direct = draw.random() < 0.5
        """`delivery: atLeastOnce`."""
        self.is_updated = draw.random() < 0.3
        """Engines come back with another revision of the machine, and, in half of these worlds, the other delivery."""
        self.changes_delivery = self.is_updated and draw.random() < 0.5
        self.hooks = Hooks(draw) if draw.random() < 0.3 else None
        self.forgets = draw.random() < 0.1
        """Finished sagas are forgotten while one looks."""
        self.retention_ms = SHORT_RETENTION_MS if self.forgets else RETENTION_MS
        self.is_compacted = draw.random() < 0.5
        """The audit finds the topic of sagas compacted."""
        self.clock_jump_ms_max = SMALL_CLOCK_JUMP_MS_MAX if self.forgets else CLOCK_JUMP_MS_MAX
        self.machines = {revision: shop(revision, self.hooks) for revision in REVISIONS}
        self.first_revision = draw.choice(REVISIONS) if self.is_updated else LAST_REVISION
        self.batch = BatchSettings(
            records_max=draw.choice((1, 2, 5, 1000)),
            linger_ms=draw.choice((0, 5, 50)),
            bytes_max=Random(seed + 2).choice((500, 5_000, BATCH_BYTES_MAX)),
        )
        self.broker = Broker(
            wall_ms=self.loop.wall_ms,
            draw_delay=lambda: draw.randint(0, 20) / 1000,
            history=self.history,
            home_partitions=draw.randint(1, 3),
        )
        self.broker.create_topic(EVENTS, draw.randint(1, 4))
        self.broker.create_topic(COMMANDS, draw.randint(1, 3))
        self.hosts = [EngineHost(self, number) for number in range(draw.choice((1, 2, 2, 3)))]
        self.processes: list[Process] = []
        self.endpoint_seconds = 0.0
        """How long the endpoint takes at most."""
        self.endpoint: Callable[[str, str, str], None] | None = None
        self.failures: list[str] = []
        """What was seen to be wrong on the way."""

    def partition_log(self, *, is_direct: bool) -> type[SimulatedPartitionLog]:
        """The adapter's way to commit."""
        if is_direct:
            return DirectPartitionLog
        return SettlingPartitionLog if self.changes_delivery else SimulatedPartitionLog

    async def call(self, host: EngineHost, ask: Callable[[Gateway], Awaitable[_T]]) -> _T:
        """An HTTP request to an engine. TransientError: no answer in time, or it says so itself."""
        if not host.is_up or host.gateway is None or host.process is None:
            raise TransientError("connection refused")
        answer: asyncio.Future[_T] = self.loop.create_future()

        async def handle(gateway: Gateway) -> None:
            try:
                result = await ask(gateway)
            except FlowMachineError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        host.process.spawn(self.loop, handle(host.gateway))
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await answer
        except TimeoutError:
            raise TransientError("no answer") from None

    def start(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        """Start something that belongs to no engine."""
        return self.loop.create_task(coroutine, context=NOBODY.copy())

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        """Run to the end of `main`, then have everything cleaned up that was left where it stood."""
        logging.disable(logging.CRITICAL)
        state = global_random.getstate()
        global_random.seed(self.random.random())  # the runtime's jitter
        gc.disable()  # what is collected when must not decide what happens when
        try:
            self.loop.run_until_complete(self.start(main()))  # type: ignore[arg-type]
        finally:
            self._clean_up()
            gc.enable()
            global_random.setstate(state)
            logging.disable(logging.NOTSET)

    def _clean_up(self) -> None:
        loop = self.loop
        loop.is_over = self.history.is_closed = True
        loop.set_exception_handler(lambda *_: None)
        for process in self.processes:
            loop.resume(process)
        for _ in range(20):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            with suppress(BaseException):
                loop.run_until_complete(self.start(_wait_for(left)))
        loop.close()


async def _wait_for(tasks: set["asyncio.Task[object]"]) -> None:
    await asyncio.wait(tasks, timeout=60)
