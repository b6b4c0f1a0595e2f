"""Throughput: events per second that are committed, engine and pass-throughs in turn.

One process has all partitions, or each of two has two of them, or only one: that is how the operator deploys engines.

The programs run and wait; the events are appended in one transaction, so that they see none before all are there, and
nobody else is at work from then on. First come all first events of all sagas, then all second ones, then all third
ones: a saga that moves twice in one batch is written once; in this order each event is one saga record, as in the
pass-through. What is read off the group's committed offsets is the time between 10 % and 90 % of the events, so neither
the beginning nor the last, smaller batches count.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from bench.broker import Sample, append, follow
from bench.errors import RoundFailedError
from bench.figures import Figure, median_of, ratio_of
from bench.lab import Lab
from bench.processes import Program
from bench.programs import create_sagas, require_advanced, start_engines, start_passthrough
from bench.sizes import Sizes
from bench.workload import EVENTS, PARTITIONS, Names, lanes, rehearse

ProgramName = Literal["engine", "passthrough", "compressing"]
"""`compressing` is the pass-through with compressed saga records, as the engine's are."""
PROGRAMS: tuple[ProgramName, ...] = ("engine", "passthrough")
RUN_SECONDS_MAX = 600.0
_FIRST, _LAST = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class ThroughputRound:
    """What one round says."""

    program: ProgramName
    processes: int
    partitions: int
    events_per_second: float
    cpu_seconds_per_1000: float
    """Of the program, all its processes."""
    broker_cpu_seconds_per_1000: float
    events: int
    broker_age_seconds: float
    """When the round began."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much there is of everything."""

    sagas: int
    """Each brings three events. At least 2,000 for each partition, or a saga moves twice in one batch."""
    processes: int = 1
    partitions: int = PARTITIONS
    is_whole: bool = False
    """The rate is that of all events, from when they can be seen until the last is done. With many partitions most
    events are on their way at once, so there is no middle that could be looked at alone."""

    @property
    def events(self) -> int:
        """All of them."""
        return len(EVENTS) * self.sagas

    def events_by_partition(self) -> list[list[tuple[bytes, bytes]]]:
        """In their order."""
        return [[(key, event) for event in EVENTS for key in lane] for lane in lanes(self.sagas, self.partitions)]


def read_off(
    program: ProgramName, samples: Sequence[Sample], visible_at: float, amounts: Amounts, broker_age: float
) -> ThroughputRound:
    """The rate between 10 % and 90 % of the events, or of all. Raises RoundFailedError if it was too short to tell.

    `visible_at`: when programs could see the events.
    """
    events = amounts.events
    if amounts.is_whole:
        first, last = max((s for s in samples if s.seconds <= visible_at), key=lambda s: s.seconds), samples[-1]
        seconds = last.seconds - visible_at
    else:
        first = next(sample for sample in samples if sample.records >= _FIRST * events)
        last = next(sample for sample in samples if sample.records >= _LAST * events)
        seconds = last.seconds - first.seconds
    records = last.records - first.records
    if records <= 0 or seconds <= 0:
        raise RoundFailedError(f"{events:,} events are too few: they were done between two looks")
    return ThroughputRound(
        program=program,
        processes=amounts.processes,
        partitions=amounts.partitions,
        events_per_second=records / seconds,
        cpu_seconds_per_1000=(last.cpu_seconds - first.cpu_seconds) / records * 1000,
        broker_cpu_seconds_per_1000=(last.broker_cpu_seconds - first.broker_cpu_seconds) / records * 1000,
        events=events,
        broker_age_seconds=broker_age,
    )


async def run_engine_round(lab: Lab, amounts: Amounts) -> ThroughputRound:
    """The engines create the sagas, and then get their events."""
    age = lab.broker_age_seconds
    async with start_engines(lab, amounts.processes, partitions=amounts.partitions) as (names, engines):
        await create_sagas(lab, names, engines[0], lanes(amounts.sagas, amounts.partitions))
        samples, visible_at = await _send_and_follow(lab, names, engines, amounts)
        await asyncio.to_thread(require_advanced, engines, amounts.events)
    return read_off("engine", samples, visible_at, amounts, age)


async def run_passthrough_round(lab: Lab, amounts: Amounts, *, is_compressed: bool = False) -> ThroughputRound:
    """The same events, and records of the same number and sizes."""
    age = lab.broker_age_seconds
    async with start_passthrough(
        lab,
        rehearse()[1:],
        records_per_step=amounts.sagas // amounts.partitions,
        processes=amounts.processes,
        partitions=amounts.partitions,
        is_compressed=is_compressed,
    ) as (names, running):
        samples, visible_at = await _send_and_follow(lab, names, running, amounts)
    return read_off("compressing" if is_compressed else "passthrough", samples, visible_at, amounts, age)


async def _send_and_follow(
    lab: Lab, names: Names, programs: Sequence[Program], amounts: Amounts
) -> tuple[list[Sample], float]:
    """How far the programs were, again and again, and when they could see the events."""

    async def send() -> float:
        await append(lab.bootstrap, names.events, amounts.events_by_partition(), at_once=True)
        return time.monotonic()

    return await asyncio.gather(
        follow(
            lab.bootstrap,
            group=names.group,
            topic=names.events,
            partitions=amounts.partitions,
            records=amounts.events,
            programs=programs,
            broker_pid=lab.broker_pid,
            timeout_seconds=RUN_SECONDS_MAX,
        ),
        send(),
    )


async def warm_up(lab: Lab, *, sagas: int, seconds: float) -> int:
    """Rounds of both programs that do not count, until the broker is `seconds` old. Returns how many of each."""
    count = 0
    while not count or lab.broker_age_seconds < seconds:
        lab.say(f"warm-up: the broker is {lab.broker_age_seconds:.0f} s old, until {seconds:.0f} s")
        await run_engine_round(lab, Amounts(sagas))
        await run_passthrough_round(lab, Amounts(sagas))
        count += 1
    return count


_RUNS: dict[ProgramName, Callable[[Lab, Amounts], Awaitable[ThroughputRound]]] = {
    "engine": run_engine_round,
    "passthrough": run_passthrough_round,
    "compressing": partial(run_passthrough_round, is_compressed=True),
}


async def measure_throughput(
    lab: Lab, amounts: Sequence[Amounts], programs: Sequence[ProgramName] = PROGRAMS, *, rounds: int
) -> list[ThroughputRound]:
    """Rounds of these programs in turn, one kind of amounts after the other."""
    results: list[ThroughputRound] = []
    for one in amounts:
        for number in range(1, rounds + 1):
            for program in programs:
                result = await _RUNS[program](lab, one)
                results.append(result)
                lab.say(
                    f"throughput {number}/{rounds}, {program}, {result.processes} process(es), "
                    f"{result.partitions} partitions: {result.events_per_second:,.0f} events/s, "
                    f"{result.cpu_seconds_per_1000:.3f} CPU-s per 1,000"
                )
    return results


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    shares = ((1, PARTITIONS), (2, PARTITIONS), (2, 2))
    amounts = [Amounts(sizes.throughput_sagas, processes, partitions) for processes, partitions in shares]
    return build_figures(await measure_throughput(lab, amounts, (*PROGRAMS, "compressing"), rounds=sizes.rounds))


def build_figures(rounds: Sequence[ThroughputRound]) -> list[Figure]:
    """Rates, their ratio, and what a thousand events cost: with one process, with two, with a partition for each."""
    figures: list[Figure] = []
    for share in sorted({(one.processes, one.partitions) for one in rounds}):
        # The names of one process are older than the others. The texts are short: the table is to fit a terminal.
        processes, partitions = share
        is_one = processes == 1
        suffix, count = ("", "") if is_one else (f"_{processes}", f"{processes} ")
        if processes == partitions:  # as the operator deploys engines
            suffix, count = "_each", f"{partitions} partitions, {count}"
        engine, bare, compressing = (
            [one for one in rounds if (one.processes, one.partitions) == share and one.program == program]
            for program in (*PROGRAMS, "compressing")
        )
        engine_text, bare_text = (f"{count}{name}{'' if is_one else 's'}" for name in ("engine", "pass-through"))
        of_engine = median_of(f"throughput.engine{suffix}", engine_text, engine, "events_per_second", "events/s")
        of_bare = median_of(f"throughput.passthrough{suffix}", bare_text, bare, "events_per_second", "events/s")
        ratio_text = "ratio" if is_one else f"ratio, {count}of each"
        figures += [of_engine, of_bare, ratio_of(f"throughput.ratio{suffix}", ratio_text, of_engine, of_bare)]
        text = f"- {bare_text}, compressing"
        other = median_of(f"throughput.compressing{suffix}", text, compressing, "events_per_second", "events/s")
        figures += [other, ratio_of(f"throughput.ratio_compressing{suffix}", "- ratio to that", of_engine, other)]
        figures += [
            median_of(f"throughput.{name}_cpu{suffix}", text, of, attribute, "s")
            for name, text, of, attribute in (
                ("engine", f"CPU per 1,000, {engine_text}", engine, "cpu_seconds_per_1000"),
                ("engine_broker", "- broker meanwhile", engine, "broker_cpu_seconds_per_1000"),
                ("passthrough", f"CPU per 1,000, {bare_text}", bare, "cpu_seconds_per_1000"),
                ("passthrough_broker", "- broker meanwhile", bare, "broker_cpu_seconds_per_1000"),
            )
        ]
    return figures
