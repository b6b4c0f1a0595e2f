"""Latency: from the moment when an event is due to the moment when a read_committed consumer has its command.

At a rate far below what either program can do, over all partitions, in alternating rounds. Each event moves a saga of
its own for the first time.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.errors import RoundFailedError
from bench.figures import Figure, median_of, ratio_of
from bench.lab import Lab
from bench.processes import Program, cpu_seconds, run_load
from bench.programs import create_sagas, require_advanced, start_engines, start_passthrough
from bench.sizes import Sizes
from bench.throughput import PROGRAMS, ProgramName
from bench.workload import PAID, Names, lanes, rehearse

_SETTLE_SECONDS = 1.0
"""Between the creations and the load: what the creations left to do in the broker is done by then."""
_NEVER = 1 << 62
_EXTRA_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast events come, and for how long."""

    events_per_second: int
    seconds: int
    warm_seconds: int

    @property
    def sagas(self) -> int:
        """One for each event."""
        return self.events_per_second * (self.seconds + self.warm_seconds)


def pace_of(sizes: Sizes, events_per_second: int) -> Pace:
    """A rate, kept for as long as a run of these sizes measures latencies."""
    seconds, warm_seconds = sizes.latency_seconds, sizes.latency_warm_seconds
    return Pace(events_per_second=events_per_second, seconds=seconds, warm_seconds=warm_seconds)


@dataclass(frozen=True, slots=True)
class LatencyRound:
    """What one round says."""

    program: ProgramName
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_ms_p99: float
    """How late the load itself was; the latencies include it."""
    cpu_seconds_per_1000: float
    """Of the program, per 1,000 events, with all that it does in between."""
    events: int
    broker_age_seconds: float


def quantile(ordered: list[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; `ordered` is not empty."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@asynccontextmanager
async def open_program(lab: Lab, program: ProgramName, sagas: int) -> AsyncGenerator[tuple[Names, Program]]:
    """The program, which waits for the first events of so many sagas; at the end of the block all must have come."""
    if program == "engine":
        async with start_engines(lab, 1) as (names, (engine,)):
            await create_sagas(lab, names, engine, lanes(sagas))
            await asyncio.sleep(_SETTLE_SECONDS)
            yield names, engine
            await asyncio.to_thread(require_advanced, [engine], sagas)
    else:
        async with start_passthrough(lab, rehearse()[PAID : PAID + 1], records_per_step=_NEVER) as (names, (process,)):
            await asyncio.sleep(_SETTLE_SECONDS)
            yield names, process


async def run_round(lab: Lab, program: ProgramName, pace: Pace) -> LatencyRound:
    """Each saga gets its first event, at this pace."""
    age = lab.broker_age_seconds
    async with open_program(lab, program, pace.sagas) as (names, process):
        return await run_paced(lab, program, process, names, pace, age)


async def run_paced(
    lab: Lab, program: ProgramName, process: Program, names: Names, pace: Pace, age: float
) -> LatencyRound:
    """Send events at this pace to a program that runs. Raises RoundFailedError."""
    arguments = {
        "bootstrap": lab.bootstrap,
        "events": names.events,
        "commands": names.commands,
        "rate": pace.events_per_second,
        "seconds": pace.seconds,
        "warm-seconds": pace.warm_seconds,
    }
    used_before = cpu_seconds(process.pid)
    seconds_max = pace.seconds + pace.warm_seconds + _EXTRA_SECONDS_MAX
    found = await run_load("bench.load", arguments, seconds_max=seconds_max)
    if not process.is_running:
        raise RoundFailedError(f"the {program} ended within a latency round")
    used = cpu_seconds(process.pid) - used_before
    latencies = sorted(found["latencies_ms"])
    return LatencyRound(
        program=program,
        p50_ms=quantile(latencies, 0.5),
        p99_ms=quantile(latencies, 0.99),
        max_ms=latencies[-1],
        late_ms_p99=found["late_ms_p99"],
        cpu_seconds_per_1000=used / pace.sagas * 1000,
        events=len(latencies),
        broker_age_seconds=age,
    )


async def measure_latency(lab: Lab, pace: Pace, *, rounds: int) -> list[LatencyRound]:
    """Rounds of the engine and the pass-through in turn, after one of each that does not count.

    Transactions of single records are new to the broker: the first hundreds are slow, whoever sends them.
    """
    results: list[LatencyRound] = []
    for number in range(rounds + 1):
        for program in PROGRAMS:
            result = await run_round(lab, program, pace)
            if number:
                results.append(result)
            which = f"{number}/{rounds}" if number else "warm-up"
            lab.say(f"latency {which}, {program}: p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms")
    return results


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    pace = pace_of(sizes, sizes.latency_events_per_second)
    return build_figures(await measure_latency(lab, pace, rounds=sizes.rounds))


def build_figures(rounds: Sequence[LatencyRound]) -> list[Figure]:
    """Quantiles and their ratios."""
    engine = [one for one in rounds if one.program == "engine"]
    bare = [one for one in rounds if one.program == "passthrough"]
    figures: list[Figure] = []
    for which in ("p50", "p99"):
        of_engine = median_of(f"latency.engine_{which}", f"engine, {which}", engine, f"{which}_ms", "ms")
        of_bare = median_of(f"latency.passthrough_{which}", f"pass-through, {which}", bare, f"{which}_ms", "ms")
        text = f"ratio, {which}"
        figures += [of_engine, of_bare, ratio_of(f"latency.ratio_{which}", text, of_engine, of_bare)]
    return figures
