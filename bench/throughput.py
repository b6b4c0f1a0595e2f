"""Throughput: events per second that are committed, engine and pass-through in turn.

Events are there before the program starts: all first events of all sagas, then all second ones, then all third ones. A
saga that moves twice in one batch is written once; in this order each event is one saga record, as in the pass-through.
What is read off the group's committed offsets is the time between 10 % and 90 % of the events, so neither the start nor
the last, smaller batches count.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.broker import Sample, append, follow
from bench.errors import RoundFailedError
from bench.lab import Lab
from bench.programs import create_sagas, engine_topics, passthrough_topics, require_advanced, start_engine
from bench.workload import EVENTS, Written, lanes, rehearse

ProgramName = Literal["engine", "passthrough"]
RUN_SECONDS_MAX = 600.0
_FIRST, _LAST = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class ThroughputRound:
    """What one round says."""

    program: ProgramName
    events_per_second: float
    cpu_seconds_per_1000: float
    """Of the program, all threads."""
    broker_cpu_seconds_per_1000: float
    events: int
    broker_age_seconds: float
    """When the round began."""


def read_off(program: ProgramName, samples: Sequence[Sample], events: int, broker_age: float) -> ThroughputRound:
    """The rate between 10 % and 90 % of the events. Raises RoundFailedError if the round was too short to tell."""
    first = next(sample for sample in samples if sample.records >= _FIRST * events)
    last = next(sample for sample in samples if sample.records >= _LAST * events)
    seconds, records = last.seconds - first.seconds, last.records - first.records
    if records <= 0 or seconds <= 0:
        raise RoundFailedError(f"{events:,} events are too few: they were done between two looks")
    used = {name: last.cpu_seconds[name] - first.cpu_seconds[name] for name in first.cpu_seconds}
    return ThroughputRound(
        program=program,
        events_per_second=records / seconds,
        cpu_seconds_per_1000=used["program"] / records * 1000,
        broker_cpu_seconds_per_1000=used["broker"] / records * 1000,
        events=events,
        broker_age_seconds=broker_age,
    )


async def run_engine_round(lab: Lab, sagas: int) -> ThroughputRound:
    """1. create the sagas, 2. stop the engine, 3. append all events, 4. start it and watch."""
    age = lab.broker_age_seconds
    keys = lanes(sagas)
    events = len(EVENTS) * sagas
    async with engine_topics(lab) as (names, engine):
        await start_engine(engine)
        await create_sagas(lab, names, engine, keys)
        await asyncio.to_thread(engine.terminate)
        await append(lab.bootstrap, names.events, _events_of(keys))
        await start_engine(engine, is_ready=False)
        samples = await follow(
            lab.bootstrap,
            group=names.group,
            topic=names.events,
            records=events,
            processes={"program": engine.pid, "broker": lab.broker_pid},
            program=engine,
            timeout_seconds=RUN_SECONDS_MAX,
        )
        await asyncio.to_thread(require_advanced, engine, events)
        await asyncio.to_thread(engine.terminate)
    return read_off("engine", samples, events, age)


async def run_passthrough_round(lab: Lab, sagas: int) -> ThroughputRound:
    """The same events, and records of the same number and sizes."""
    age = lab.broker_age_seconds
    keys = lanes(sagas)
    events = len(EVENTS) * sagas
    written: list[Written] = rehearse()[1:]
    async with passthrough_topics(lab, written, records_per_step=len(keys[0])) as (names, process):
        await append(lab.bootstrap, names.events, _events_of(keys))
        await asyncio.to_thread(process.start)
        samples = await follow(
            lab.bootstrap,
            group=names.group,
            topic=names.events,
            records=events,
            processes={"program": process.pid, "broker": lab.broker_pid},
            program=process,
            timeout_seconds=RUN_SECONDS_MAX,
        )
        await asyncio.to_thread(process.terminate)
    return read_off("passthrough", samples, events, age)


def _events_of(keys: Sequence[Sequence[bytes]]) -> list[list[tuple[bytes, bytes]]]:
    return [[(key, event) for event in EVENTS for key in lane] for lane in keys]


async def warm_up(lab: Lab, *, sagas: int, seconds: float) -> int:
    """Rounds of both programs that do not count, until the broker is `seconds` old. Returns how many of each."""
    count = 0
    while not count or lab.broker_age_seconds < seconds:
        lab.say(f"warm-up: the broker is {lab.broker_age_seconds:.0f} s old, until {seconds:.0f} s")
        await run_engine_round(lab, sagas)
        await run_passthrough_round(lab, sagas)
        count += 1
    return count


async def measure_throughput(lab: Lab, *, sagas: int, rounds: int) -> list[ThroughputRound]:
    """Rounds of the engine and the pass-through in turn."""
    results: list[ThroughputRound] = []
    for number in range(1, rounds + 1):
        for run in (run_engine_round, run_passthrough_round):
            result = await run(lab, sagas)
            results.append(result)
            lab.say(
                f"throughput {number}/{rounds}, {result.program}: {result.events_per_second:,.0f} events/s, "
                f"{result.cpu_seconds_per_1000:.3f} CPU-s per 1,000"
            )
    return results
