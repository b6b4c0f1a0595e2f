"""Who does what when.

1 the engine starts, the services connect
2 customers place orders; with kills, the engine dies when a quarter of them is done, and again after half
3 when all orders are done, one saga is read over HTTP, and the engine is asked to stop
4 the log is read from its beginning to its end, for the audit
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.api.saga_answer import SagaAnswer
from flowmachine.cli.demo.audit import Audit, audit
from flowmachine.cli.demo.board import Board, duration_ms
from flowmachine.cli.demo.engine import EngineProcess
from flowmachine.cli.demo.services import run_services
from flowmachine.cli.demo.workload import Customers, Ledger, Order
from flowmachine.config.resource import FlowMachine
from flowmachine.core.definition import Machine
from flowmachine.errors import TransientError
from flowmachine.wire.message import decode_message

RUN_SECONDS_MAX: Final = 50.0
"""The demo is over within a minute; an order that is not done by then counts as lost."""
KILL_SHARES: Final = (0.25, 0.5)
OUTAGE_SECONDS: Final = 0.4
"""How long the engine stays dead besides the time that it needs to start: long enough to see it."""
SHOW_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Kill:
    """When the engine died, and what was going on then."""

    at_seconds: float
    in_flight: int
    back_seconds: float
    """Until it was ready again."""


@dataclass(slots=True)
class Stage:
    """Everything that the display looks at while the demo runs."""

    machine: Machine
    orders: list[Order]
    board: Board
    ledger: Ledger
    engine: EngineProcess
    kills: list[Kill] = field(default_factory=list[Kill])
    begin: float = 0.0
    note: str = "the engine starts"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the report tells."""

    stage: Stage
    latencies: list[float]
    """Seconds from the customer's request to the saga's last record, sorted."""
    seconds: float
    example: SagaAnswer
    audit: Audit


@dataclass(frozen=True, slots=True)
class Place:
    """The machine, and its log's file."""

    resource: FlowMachine
    path: Path

    @property
    def sagas_topic(self) -> str:
        """The machine's changelog."""
        return f"{self.resource.spec.settings.internal_topics.prefix}{self.resource.metadata.name}.sagas"

    @property
    def commands_topics(self) -> list[str]:
        """Where commands go."""
        return [
            topic for channel in self.resource.spec.channels if channel.kafka for topic in channel.kafka.output_topics
        ]

    @property
    def events_topic(self) -> str:
        """Where events go."""
        return next(
            topic for channel in self.resource.spec.channels if channel.kafka for topic in channel.kafka.input_topics
        )


async def run_scenario(place: Place, stage: Stage, *, has_kills: bool, show: Callable[[], None]) -> Outcome:
    """The whole demo. Raises TransientError when something does not work; `show` is called many times a second."""
    try:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(_show_always(show))]
            await stage.engine.start()
            stage.begin, stage.note = time.monotonic(), ""
            helpers += [
                group.create_task(stage.board.follow(place.path, place.sagas_topic)),
                group.create_task(run_services(place.path, commands=place.commands_topics, events=place.events_topic)),
                group.create_task(stage.engine.watch()),
            ]
            await _run_orders(stage, has_kills=has_kills)
            example = await _read_example(stage)
            for helper in helpers:
                helper.cancel()
        show()
        await stage.engine.stop()
    finally:
        await stage.engine.kill()
    seconds = max(stage.board.finished_at.values()) - stage.begin
    found = await _audit_log(place, stage)
    asked_at, finished_at = stage.ledger.asked_at, stage.board.finished_at
    latencies = sorted(finished_at[saga_id] - asked for saga_id, asked in asked_at.items() if saga_id in finished_at)
    return Outcome(stage, latencies, seconds, example, found)


async def _run_orders(stage: Stage, *, has_kills: bool) -> None:
    customers = Customers(lambda: stage.engine.url, stage.ledger)
    try:
        async with asyncio.timeout(RUN_SECONDS_MAX), asyncio.TaskGroup() as group:
            group.create_task(customers.place(stage.orders))
            if has_kills:
                group.create_task(_kill_engine(stage))
            await stage.board.wait_finished(len(stage.orders))
    except TimeoutError:
        done, wanted = stage.board.finished, len(stage.orders)
        raise TransientError(f"only {done} of {wanted} orders were done after {RUN_SECONDS_MAX:.0f} s") from None


async def _kill_engine(stage: Stage) -> None:
    for number, share in enumerate(KILL_SHARES, start=1):
        await stage.board.wait_finished(math.ceil(share * len(stage.orders)))
        at, in_flight = time.monotonic() - stage.begin, stage.board.unfinished
        await stage.engine.kill()
        stage.note = f"kill -9 number {number}: the engine is dead, {in_flight} orders were on their way"
        await asyncio.sleep(OUTAGE_SECONDS)
        stage.note += "; a new one starts"
        begin = time.monotonic() - OUTAGE_SECONDS
        await stage.engine.start()
        stage.kills.append(Kill(at, in_flight, time.monotonic() - begin))
        stage.note = ""


async def _read_example(stage: Stage) -> SagaAnswer:
    """Of the sagas that took the most common way: one that took as long as most, or, after kills, the slowest."""
    most_common = stage.board.by_state().most_common(1)[0][0]
    candidates = sorted(
        (saga_id for saga_id, saga in stage.board.sagas.items() if saga.current_state == most_common),
        key=lambda saga_id: duration_ms(stage.board.sagas[saga_id]),
    )
    saga_id = candidates[-1] if stage.kills else candidates[len(candidates) // 2]
    return await _read_saga(stage.engine.url, saga_id)


async def _read_saga(url: str, saga_id: str) -> SagaAnswer:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/sagas/{saga_id}") as answer:
            answer.raise_for_status()
            return msgspec.json.decode(await answer.read(), type=SagaAnswer)
    except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as error:
        raise TransientError(f"GET /sagas/{saga_id} failed: {error}") from error


async def _audit_log(place: Place, stage: Stage) -> Audit:
    final = Board()
    async with EmbeddedClient(place.path) as client:
        for record in await client.read_all(place.sagas_topic):
            final.note(record)
        commands = [record for topic in place.commands_topics for record in await client.read_all(topic)]
    labels = [((record.key or b"").decode(), decode_message(record.value).message_label) for record in commands]
    return audit(stage.machine, stage.ledger.saga_ids, final.sagas, labels)


async def _show_always(show: Callable[[], None]) -> None:
    while True:
        show()
        await asyncio.sleep(SHOW_SECONDS)
