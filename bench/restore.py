"""Restore: how long an engine needs from its start until it is ready, with sagas to read from the changelog.

The changelog is written here: one record for each of many idle orders. An engine with an empty one is timed before, so
that what the sagas add can be told from what every start takes.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.broker import COMPACTED, append, create_topics
from bench.errors import RoundFailedError
from bench.figures import Figure
from bench.lab import Lab
from bench.processes import peak_bytes
from bench.programs import engine_topics, start_engine
from bench.sizes import Sizes
from bench.workload import PARTITIONS, idle_sagas, lanes
from dev.engine_process import EngineProcess

RESTORED = "partition restored"


@dataclass(frozen=True, slots=True)
class RestoreRound:
    """What one start says."""

    sagas: int
    ready_seconds: float
    """From the start of the process until `/-/ready` answers 200."""
    records_per_second: float
    """Over the partitions' restores, which run at the same time; 0 for none."""
    resident_bytes: int
    """Of the whole engine, once it is ready."""
    peak_bytes: int
    """The most that it held until then."""


async def measure_restore(lab: Lab, *, sagas: int) -> list[RestoreRound]:
    """A start without sagas, and one with."""
    results: list[RestoreRound] = []
    for count in (0, sagas):
        result = await _run_round(lab, count)
        results.append(result)
        lab.say(
            f"restore of {result.sagas:,} sagas: ready after {result.ready_seconds:.2f} s, "
            f"{result.records_per_second:,.0f} records/s"
        )
    return results


async def _run_round(lab: Lab, sagas: int) -> RestoreRound:
    async with engine_topics(lab) as (names, engine):
        await create_topics(lab.bootstrap, names.sagas, configs=COMPACTED)
        await create_topics(lab.bootstrap, names.intake, names.unmatched)
        if sagas:
            await append(lab.bootstrap, names.sagas, [idle_sagas(lane) for lane in lanes(sagas)])
        started = time.monotonic()
        await start_engine(engine)
        ready_seconds = time.monotonic() - started
        result = _read_off(engine, sagas, ready_seconds)
        await asyncio.to_thread(engine.terminate)
    return result


def _read_off(engine: EngineProcess, sagas: int, ready_seconds: float) -> RestoreRound:
    restored = [line for line in engine.log_lines() if line.get("message") == RESTORED]
    found = sum(line["sagas"] for line in restored)
    if len(restored) != PARTITIONS or found != sagas:
        raise RoundFailedError(f"{found:,} of {sagas:,} sagas were restored in {len(restored)} partitions")
    records = sum(line["records"] for line in restored)
    slowest = max(line["seconds"] for line in restored)
    return RestoreRound(
        sagas=sagas,
        ready_seconds=ready_seconds,
        records_per_second=records / slowest if records and slowest else 0.0,
        resident_bytes=engine.resident_bytes(),
        peak_bytes=peak_bytes(engine.pid),
    )


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(await measure_restore(lab, sagas=sizes.restore_sagas))


def build_figures(rounds: Sequence[RestoreRound]) -> list[Figure]:
    """The last round is the one with sagas, the first the one without."""
    empty, full = rounds[0], rounds[-1]
    kept = tuple(asdict(one) for one in rounds)
    per_saga = (full.resident_bytes - empty.resident_bytes) / full.sagas
    peak_per_saga = (full.peak_bytes - empty.peak_bytes) / full.sagas
    sagas = f"{full.sagas:,} sagas"
    return [
        Figure("restore.rate", "records restored", full.records_per_second, "records/s", kept),
        Figure("restore.ready", f"start to ready, {sagas}", full.ready_seconds, "s", kept),
        Figure("restore.ready_empty", "start to ready, no sagas", empty.ready_seconds, "s", kept),
        Figure("restore.resident_per_saga", "engine's memory per saga", per_saga, "bytes", kept),
        Figure("restore.peak_per_saga", "its peak, per saga", peak_per_saga, "bytes", kept),
    ]
