"""The whole loop: orders are created, their commands answered, until they end; engine and hand-written loop in turn.

Both get the same load with the same number of orders under way, and write to topics of the same kind.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bench.broker import COMPACTED, create_topics, delete_topics
from bench.errors import RoundFailedError
from bench.figures import Figure, median_of, ratio_of
from bench.lab import Lab
from bench.latency import quantile
from bench.processes import Program, cpu_seconds, run_load
from bench.programs import start_bare, start_engines
from bench.sizes import Sizes
from bench.workload import Names, unique_names

LoopProgram = Literal["engine", "floor"]
PROGRAMS: tuple[LoopProgram, ...] = ("engine", "floor")
ROUND_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True)
class LoopRound:
    """What one round says."""

    program: LoopProgram
    processes: int
    sagas_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_seconds_per_1000: float
    """Of the program, all its processes, per 1,000 sagas."""
    orders: int
    in_flight: int
    broker_age_seconds: float


async def measure_loop(lab: Lab, *, orders: int, in_flight: int, rounds: int) -> list[LoopRound]:
    """Rounds of both programs in turn, with one process and with two."""
    results: list[LoopRound] = []
    for processes in (1, 2):
        for number in range(1, rounds + 1):
            for program in PROGRAMS:
                result = await run_loop_round(lab, program, processes, orders=orders, in_flight=in_flight)
                results.append(result)
                lab.say(
                    f"loop {number}/{rounds}, {program}, {processes} process(es): "
                    f"{result.sagas_per_second:,.0f} sagas/s, p50 {result.p50_ms:,.0f} ms, p99 {result.p99_ms:,.0f} ms"
                )
    return results


async def run_loop_round(lab: Lab, program: LoopProgram, processes: int, *, orders: int, in_flight: int) -> LoopRound:
    """Start the program, send all orders round, stop it."""
    age = lab.broker_age_seconds
    start = start_engines if program == "engine" else _start_floors
    async with start(lab, processes) as (names, running):
        said = await _run_load(lab, names, orders, in_flight)
        if not all(one.is_running for one in running):
            raise RoundFailedError(f"{program} ended within a loop round")
        used = sum(cpu_seconds(one.pid) for one in running)
    latencies = sorted(said["latencies_ms"])
    return LoopRound(
        program=program,
        processes=processes,
        sagas_per_second=said["sagas_per_second"],
        p50_ms=quantile(latencies, 0.5),
        p99_ms=quantile(latencies, 0.99),
        cpu_seconds_per_1000=used / orders * 1000,
        orders=orders,
        in_flight=in_flight,
        broker_age_seconds=age,
    )


@asynccontextmanager
async def _start_floors(lab: Lab, processes: int) -> AsyncGenerator[tuple[Names, Sequence[Program]]]:
    names = unique_names("floor")
    arguments = {
        "intake": names.intake,
        "events": names.events,
        "commands": names.commands,
        "sagas": names.sagas,
    }
    await create_topics(lab.bootstrap, names.events, names.commands, names.intake)
    await create_topics(lab.bootstrap, names.sagas, configs=COMPACTED)
    try:
        async with start_bare(lab, "bench.floor", names, arguments, processes) as running:
            yield names, running
    finally:
        await delete_topics(lab.bootstrap, names.events, names.commands, names.intake, names.sagas)


async def _run_load(lab: Lab, names: Names, orders: int, in_flight: int) -> dict[str, Any]:
    arguments = {
        "bootstrap": lab.bootstrap,
        "intake": names.intake,
        "events": names.events,
        "commands": names.commands,
        "sagas": names.sagas,
        "orders": orders,
        "in-flight": in_flight,
    }
    return await run_load("bench.loop_load", arguments, seconds_max=ROUND_SECONDS_MAX)


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    orders, in_flight = sizes.loop_orders, sizes.loop_in_flight
    return build_figures(await measure_loop(lab, orders=orders, in_flight=in_flight, rounds=sizes.rounds))


def build_figures(rounds: Sequence[LoopRound]) -> list[Figure]:
    """Orders per second of both programs with one process and with two, their ratio, and how long an order takes."""
    figures: list[Figure] = []
    for processes in (1, 2):
        engine, floor = (
            [one for one in rounds if one.processes == processes and one.program == program] for program in PROGRAMS
        )
        count = "1 process" if processes == 1 else f"{processes} processes"
        of_engine, of_floor = (
            median_of(f"loop.{name}_{processes}", f"{text}, {count}", of, "sagas_per_second", "sagas/s")
            for name, text, of in (("engine", "engine", engine), ("floor", "hand-written", floor))
        )
        figures += [of_engine, of_floor, ratio_of(f"loop.ratio_{processes}", f"ratio, {count}", of_engine, of_floor)]
        figures += [
            median_of(f"loop.{name}_{processes}_{quantile}", f"{text}, {count}, {quantile}", of, f"{quantile}_ms", "ms")
            for name, text, of in (("engine", "engine", engine), ("floor", "hand-written", floor))
            for quantile in ("p50", "p99")
        ]
    return figures
