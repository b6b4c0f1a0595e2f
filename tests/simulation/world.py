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

from flowmachine.core.definition import Machine, Payload
from flowmachine.errors import FlowMachineError, TransientError
from flowmachine.runtime.delivery import DeliverySettings
from flowmachine.runtime.engine import Engine, EngineSettings
from flowmachine.runtime.gateway import Gateway, GatewaySettings
from flowmachine.runtime.partition_task import BatchSettings
from flowmachine.wire.outcome import EventOutcome, IntakePlace
from tests.simulation.broker import Broker
from tests.simulation.direct import DirectPartitionLog
from tests.simulation.history import History
from tests.simulation.log import Names, SimulatedLog, SimulatedPartitionLog
from tests.simulation.loop import NOBODY, Process, SimulatedLoop
from tests.simulation.network import Network
from tests.support.builders import command, machine, state, transition
from tests.support.delivery_fakes import RecordingObserver

EVENTS, COMMANDS = "events", "commands"
NAMES = Names("shop.intake", "shop.sagas", "shop.unmatched", (EVENTS,), (COMMANDS,))
COMMAND_TOPICS = {"log": (COMMANDS,)}
RETENTION_MS = 3_600_000
RECORD_BYTES_MAX = 20_000
CALL_SECONDS = 8.0

_T = TypeVar("_T")


def shop() -> Machine:
    """Two commands through the log, one over HTTP with a side command, and three events in a row without a command.

    One of the events leads back into its state: there, an input that is applied twice is no duplicate.
    """
    return machine(
        state(
            "paying",
            transition("paymentExecuted", "preparing"),
            transition("paymentFailed", "failed"),
            sends=command("executePayment"),
            side_commands=[command("notify", "rest")],
        ),
        state("preparing", transition("orderPrepared", "packing"), sends=command("prepareOrder", "rest")),
        state("packing", transition("orderPacked", "shipping"), sends=command("packOrder")),
        state("shipping", transition("parcelScanned", "shipping"), transition("orderShipped", "delivering")),
        state("delivering", transition("orderDelivered", "delivered"), sends=command("deliverOrder")),
        state("delivered", is_final=True),
        state("failed", is_final=True),
    )


class EngineHost:
    """A place where an engine runs: it may die, be paused, and come back under the same address."""

    def __init__(self, world: "World", number: int) -> None:
        self.address = f"engine-{number}"
        latency_seconds = world.random.choice((0.002, 0.005, 0.1))
        self.network = Network(self.address, world.random, world.history, latency_seconds=latency_seconds)
        self.skew_ms = 0
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
        world.history.note(self.address, "starts")
        self.process = Process(self.address)
        world.processes.append(self.process)
        self.engine = Engine(
            log=SimulatedLog(
                world.broker,
                self.network,
                NAMES,
                DirectPartitionLog if world.is_direct else SimulatedPartitionLog,
            ),
            machine=world.machine,
            settings=EngineSettings(
                command_topics=COMMAND_TOPICS,
                retention_finished_ms=RETENTION_MS,
                record_bytes_max=RECORD_BYTES_MAX,
                batch=world.batch,
                has_command_ids=world.is_direct,
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
            f"POST {label} {idempotency_key}", lambda: endpoint(saga_id, label, idempotency_key)
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
        self.machine = shop()
        draw = self.random
        self.is_direct = draw.random() < 0.5
        """`delivery: atLeastOnce`."""
        self.batch = BatchSettings(records_max=draw.choice((1, 2, 5, 1000)), linger_ms=draw.choice((0, 5, 50)))
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
        self.endpoint: Callable[[str, str, str], None] | None = None
        self.failures: list[str] = []
        """What was seen to be wrong on the way."""

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
