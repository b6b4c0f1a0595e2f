"""Users: a published load test of the system that FlowMachine replaces, rebuilt as far as it is known.

Two partitions, two engines, copies of the sagas over `crud`, 44 users who create a saga over HTTP, wait for its end and
think for one to three seconds; participants in a process of their own, one of which answers over HTTP. Such users ask
for 22 sagas a second at the most, so there are rounds without thinking, too. `docs/performance.md` says what differs.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from bench.errors import RoundFailedError
from bench.figures import Figure
from bench.keeper import open_keeper
from bench.lab import Lab
from bench.latency import quantile
from bench.processes import BenchProcess, Program, cpu_seconds, run_load
from bench.programs import require_advanced, start_engines
from bench.sizes import Sizes
from bench.workload import EVENTS, Names
from dev.engine_process import EngineProcess

USERS = 44
PARTITIONS = ENGINES = 2
_EXTRA_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Variant:
    """How fast users and participants are."""

    name: str
    think_seconds: tuple[float, float]
    work_ms: int
    """What each of the three participants takes for a command."""


VARIANTS = (
    Variant("thinking_0", (1.0, 3.0), 0),
    Variant("thinking_50", (1.0, 3.0), 50),
    Variant("eager_0", (0.0, 0.0), 0),
    Variant("eager_50", (0.0, 0.0), 50),
)


@dataclass(frozen=True, slots=True)
class UsersRound:
    """What one round says."""

    variant: str
    sagas_per_second: float
    p50_ms: float
    """From before the `POST /saga` until the final record can be read, as `p99_ms`."""
    p99_ms: float
    cpu_seconds_per_1000: float
    """Of both engines, projectors included, per 1,000 sagas."""
    orders: int
    broker_age_seconds: float


async def measure_users(lab: Lab, *, seconds: int, warm_seconds: int) -> list[UsersRound]:
    """A round of each variant."""
    results: list[UsersRound] = []
    for variant in VARIANTS:
        result = await run_users_round(lab, variant, seconds=seconds, warm_seconds=warm_seconds)
        results.append(result)
        lab.say(
            f"users, {result.variant}: {result.sagas_per_second:,.1f} sagas/s, "
            f"p50 {result.p50_ms:,.0f} ms, p99 {result.p99_ms:,.0f} ms"
        )
    return results


async def run_users_round(lab: Lab, variant: Variant, *, seconds: int, warm_seconds: int) -> UsersRound:
    """Engines, participants and users for that long. Raises RoundFailedError, also if an event is lost or doubled."""
    age = lab.broker_age_seconds
    async with _engines(lab) as (names, engines), _participants(lab, names, engines, variant.work_ms) as participants:
        arguments = {
            "bootstrap": lab.bootstrap,
            "sagas": names.sagas,
            "partitions": PARTITIONS,
            "ports": ",".join(str(urlsplit(engine.url).port) for engine in engines),
            "users": USERS,
            "think-seconds": ",".join(map(str, variant.think_seconds)),
            "seconds": seconds,
            "warm-seconds": warm_seconds,
        }
        used_before = sum(cpu_seconds(engine.pid) for engine in engines)
        said = await run_load("bench.users_load", arguments, seconds_max=seconds + warm_seconds + _EXTRA_SECONDS_MAX)
        programs: list[Program] = [*engines, participants]
        if not all(program.is_running for program in programs):
            raise RoundFailedError("a process ended within a users round")
        used = sum(cpu_seconds(engine.pid) for engine in engines) - used_before
        await asyncio.to_thread(require_advanced, engines, len(EVENTS) * said["orders"])
    latencies = sorted(said["latencies_ms"])
    return UsersRound(
        variant=variant.name,
        sagas_per_second=said["sagas_per_second"],
        p50_ms=quantile(latencies, 0.5),
        p99_ms=quantile(latencies, 0.99),
        cpu_seconds_per_1000=used / said["orders"] * 1000,
        orders=said["orders"],
        broker_age_seconds=age,
    )


@asynccontextmanager
async def _engines(lab: Lab) -> AsyncGenerator[tuple[Names, Sequence[EngineProcess]]]:
    with open_keeper() as url:
        where = urlsplit(url)
        store = {"host": where.hostname, "port": where.port, "collectionName": "sagas"}
        persistence = {"type": "crud", "configurations": store}
        async with start_engines(lab, ENGINES, partitions=PARTITIONS, persistence=persistence) as running:
            yield running


@asynccontextmanager
async def _participants(
    lab: Lab, names: Names, engines: Sequence[EngineProcess], work_ms: int
) -> AsyncGenerator[BenchProcess]:
    arguments = {
        "bootstrap": lab.bootstrap,
        "events": names.events,
        "commands": names.commands,
        "engines": ",".join(engine.url for engine in engines),
        "work-ms": work_ms,
    }
    process = BenchProcess("bench.users_participants", arguments, lab.folder / f"{names.machine}-participants.log")
    try:
        await asyncio.to_thread(process.start)
        yield process
    finally:
        process.close()


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    seconds, warm_seconds = sizes.latency_seconds, sizes.latency_warm_seconds
    return build_figures(await measure_users(lab, seconds=seconds, warm_seconds=warm_seconds))


def build_figures(rounds: Sequence[UsersRound]) -> list[Figure]:
    """Sagas per second of the users, and how long one takes them."""
    figures: list[Figure] = []
    for one in rounds:
        kept, (pace, _, work_ms) = (asdict(one),), one.variant.partition("_")
        text = f"{pace} users, {work_ms} ms of work"
        figures += [
            Figure(f"users.{one.variant}", text, one.sagas_per_second, "sagas/s", kept),
            Figure(f"users.{one.variant}_p50", f"{text}, p50", one.p50_ms, "ms", kept),
            Figure(f"users.{one.variant}_p99", f"{text}, p99", one.p99_ms, "ms", kept),
            Figure(f"users.{one.variant}_cpu", "CPU per 1,000 sagas, engines", one.cpu_seconds_per_1000, "s", kept),
        ]
    return figures
