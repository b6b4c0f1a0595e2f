"""Projection: copies of sagas in PostgreSQL beside the engine that changes them, and how fast it is without one.

*Beside the engine:* an even load of events, each for an order of its own. Engine and projector (one process),
PostgreSQL, broker and load generator share the machine. The projector keeps up if copies arrive as fast as events are
sent, and the last one soon after the last command. How long commands took is measured, too: the store must not slow
them down.

*Catching up:* `flowmachine project` alone, into an empty table, from a topic with one record for each of twice as many
orders.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import TypeVar

import psycopg

from bench.broker import COMPACTED, append, create_topics
from bench.counting import Sample, follow_count, rate_of
from bench.errors import RoundFailedError
from bench.figures import Figure
from bench.lab import Lab
from bench.latency import Pace, run_paced
from bench.programs import create_sagas, engine_topics, read_metric, start_engine
from bench.sizes import Sizes
from bench.workload import idle_sagas, lanes
from dev.engine_process import EngineProcess
from dev.postgres import PostgresServer

T = TypeVar("T")
_PROJECT_SECONDS_MAX = 300.0
_METRIC = 'flowmachine_projected_sagas_total{outcome="written"}'


@dataclass(frozen=True, slots=True)
class ProjectionRound:
    """What both rounds say."""

    events_per_second: int
    """Offered, and taken by the engine."""
    copies_per_second: float
    """Beside the engine, between 10 % and 90 % of the copies."""
    behind_seconds: float
    """From the end of the load generator, which has read the last command, to the last copy in the table."""
    p50_ms: float
    p99_ms: float
    """Event to command, meanwhile."""
    catch_up_per_second: float
    """Without the engine."""


async def measure_projection(lab: Lab, *, rate: int, seconds: int) -> ProjectionRound:
    """One round of each kind. Raises RoundFailedError."""
    sagas = rate * seconds
    with PostgresServer() as server:
        store = {"type": "postgres", "configurations": {"connectionUri": server.uri}}
        async with engine_topics(lab, persistence=store) as (names, engine):
            await start_engine(engine)
            await create_sagas(lab, names, engine, lanes(sagas))
            await _follow(engine, sagas)
            pace = Pace(events_per_second=rate, seconds=seconds, warm_seconds=0)
            (load, load_ended), (samples, copies_ended) = await asyncio.gather(
                _timed(run_paced(lab, "engine", engine, names, pace, lab.broker_age_seconds)),
                _timed(_follow(engine, 2 * sagas)),
            )
            await asyncio.to_thread(engine.terminate)
        _require_rows(server, sagas)
        beside = rate_of([sample for sample in samples if sample.count > sagas])
        lab.say(f"projection beside the engine: {beside:,.0f} copies/s of {rate:,} offered")
        caught_up = await _catch_up(lab, server, 2 * sagas)
    lab.say(f"projection catching up: {caught_up:,.0f} copies/s")
    behind_seconds = max(copies_ended - load_ended, 0.0)
    return ProjectionRound(rate, beside, behind_seconds, load.p50_ms, load.p99_ms, caught_up)


async def _catch_up(lab: Lab, server: PostgresServer, orders: int) -> float:
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(b"TRUNCATE sagas")
    store = {"type": "postgres", "configurations": {"connectionUri": server.uri}}
    async with engine_topics(lab, persistence=store) as (names, engine):
        await create_topics(lab.bootstrap, names.sagas, configs=COMPACTED)
        await create_topics(lab.bootstrap, names.intake, names.unmatched)  # to be removed with the others
        await append(lab.bootstrap, names.sagas, [idle_sagas(lane) for lane in lanes(orders)])
        projector = EngineProcess(engine.file, command="project")
        try:
            await start_engine(projector, is_ready=False)
            samples = await _follow(projector, orders)
        finally:
            projector.close()
    _require_rows(server, orders)
    return rate_of(samples)


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    return await work, time.monotonic()


async def _follow(process: EngineProcess, copies: int) -> list[Sample]:
    """Watch the projector until it has written so many copies."""
    return await follow_count(
        process,
        lambda: int(sum(read_metric(process, _METRIC))),
        until=copies,
        seconds_max=_PROJECT_SECONDS_MAX,
        what="copies",
    )


def _require_rows(server: PostgresServer, sagas: int) -> None:
    """Raise RoundFailedError unless every order is there, paid at least."""
    with psycopg.connect(server.uri) as connection:
        row = connection.execute(b"SELECT count(*) FROM sagas WHERE current_state <> 'created'").fetchone()
    if row != (sagas,):
        raise RoundFailedError(f"the table has {row} rows of {sagas:,} orders")


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    rate, seconds = sizes.projection_events_per_second, sizes.projection_seconds
    return build_figures(await measure_projection(lab, rate=rate, seconds=seconds))


def build_figures(one: ProjectionRound) -> list[Figure]:
    """Copies in PostgreSQL, beside the engine and without it."""
    kept = (asdict(one),)
    load = f"at {one.events_per_second:,} events/s"
    return [
        Figure("projection.beside_engine", f"copies, {load}", one.copies_per_second, "sagas/s", kept),
        Figure("projection.behind", "end of the load to last copy", one.behind_seconds, "s", kept),
        Figure("projection.engine_p50", f"engine, {load}, p50", one.p50_ms, "ms", kept),
        Figure("projection.engine_p99", f"engine, {load}, p99", one.p99_ms, "ms", kept),
        Figure("projection.catch_up", "copies, without the engine", one.catch_up_per_second, "sagas/s", kept),
    ]
