"""Utilization: latency from event to command at 10, 50 and 90 % of the maximum, for each program of its own maximum.

The maximum is what the program does while the load generator, which needs its share of the cores, keeps thousands of
events under way; it is measured anew in each round, just before the others.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.errors import RoundFailedError
from bench.figures import Figure, median_of
from bench.lab import Lab
from bench.latency import Pace, open_program, run_round
from bench.processes import cpu_seconds, run_load
from bench.sizes import Sizes
from bench.throughput import PROGRAMS, ProgramName
from bench.workload import PARTITIONS

PERCENTS = (10, 50, 90)
IN_FLIGHT = 16_000
"""Enough for a batch that is written and two that wait in each partition, and as many in the log."""
_TURNS_MIN = 6
"""All that is under way is replaced so often within a round at the limit, or it would end before it is steady."""
_LIMIT_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True)
class UtilizationRound:
    """What one program says, at its limit and below it."""

    program: ProgramName
    max_events_per_second: float
    cpu_seconds_per_1000: float
    """Of the program at its limit."""
    p50_ms: tuple[float, ...]
    """At each of PERCENTS."""
    p99_ms: tuple[float, ...]
    late_ms_p99: tuple[float, ...]
    """How late the load itself was; the latencies include it."""
    broker_age_seconds: float


async def measure_utilization(
    lab: Lab, *, events: int, seconds: int, warm_seconds: int, rounds: int
) -> list[UtilizationRound]:
    """Rounds of the engine and the pass-through in turn; `events` are those of a round at the limit."""
    results: list[UtilizationRound] = []
    for number in range(1, rounds + 1):
        for program in PROGRAMS:
            result = await _run_round(lab, program, events=events, seconds=seconds, warm_seconds=warm_seconds)
            results.append(result)
            latencies = ", ".join(
                f"at {percent} % p50 {p50:.1f} p99 {p99:.1f} ms"
                for percent, p50, p99 in zip(PERCENTS, result.p50_ms, result.p99_ms, strict=True)
            )
            lab.say(
                f"utilization {number}/{rounds}, {program}: at most {result.max_events_per_second:,.0f} events/s; "
                f"{latencies}"
            )
    return results


async def _run_round(
    lab: Lab, program: ProgramName, *, events: int, seconds: int, warm_seconds: int
) -> UtilizationRound:
    age = lab.broker_age_seconds
    most, cpu = await _find_limit(lab, program, events)
    rates = [round(most * percent / 100 / PARTITIONS) * PARTITIONS for percent in PERCENTS]
    paces = [Pace(events_per_second=rate, seconds=seconds, warm_seconds=warm_seconds) for rate in rates]
    found = [await run_round(lab, program, pace) for pace in paces]
    return UtilizationRound(
        program=program,
        max_events_per_second=most,
        cpu_seconds_per_1000=cpu,
        p50_ms=tuple(one.p50_ms for one in found),
        p99_ms=tuple(one.p99_ms for one in found),
        late_ms_p99=tuple(one.late_ms_p99 for one in found),
        broker_age_seconds=age,
    )


async def _find_limit(lab: Lab, program: ProgramName, events: int) -> tuple[float, float]:
    """Events per second, and CPU seconds of the program per 1,000 events."""
    async with open_program(lab, program, events) as (names, process):
        arguments = {
            "bootstrap": lab.bootstrap,
            "events": names.events,
            "commands": names.commands,
            "count": events,
            "in-flight": min(IN_FLIGHT, events // _TURNS_MIN),
        }
        used_before = cpu_seconds(process.pid)
        said = await run_load("bench.load", arguments, seconds_max=_LIMIT_SECONDS_MAX)
        if not process.is_running:
            raise RoundFailedError(f"the {program} ended within a utilization round")
        used = cpu_seconds(process.pid) - used_before
    return said["events_per_second"], used / events * 1000


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(
        await measure_utilization(
            lab,
            events=sizes.utilization_events,
            seconds=sizes.utilization_seconds,
            warm_seconds=sizes.utilization_warm_seconds,
            rounds=sizes.rounds,
        )
    )


def build_figures(rounds: Sequence[UtilizationRound]) -> list[Figure]:
    """The maximum of each program, and its latencies at a share of it."""
    figures: list[Figure] = []
    for program, text in (("engine", "engine"), ("passthrough", "pass-through")):
        of = [one for one in rounds if one.program == program]
        kept = tuple(asdict(one) for one in of)
        figures.append(
            median_of(f"utilization.{program}_max", f"{text}, maximum", of, "max_events_per_second", "events/s")
        )
        figures += [
            Figure(
                f"utilization.{program}_{percent}_{quantile}",
                f"{text}, at {percent} %, {quantile}",
                median(getattr(one, f"{quantile}_ms")[number] for one in of),
                "ms",
                kept,
            )
            for number, percent in enumerate(PERCENTS)
            for quantile in ("p50", "p99")
        ]
    return figures
