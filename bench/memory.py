"""Memory: what an idle saga costs an engine's resident memory, beyond the engine itself."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from subprocess import PIPE

from bench.errors import RoundFailedError
from bench.figures import Figure
from bench.lab import Say
from bench.processes import child_environment
from bench.sizes import Sizes
from bench.workload import PAID, PREPARED


@dataclass(frozen=True, slots=True)
class MemoryRound:
    """What one fresh process says."""

    state: str
    sagas: int
    bytes_per_saga: float
    record_bytes: int
    """Key and value of a saga's record."""


async def measure_memory(say: Say, *, sagas: int) -> list[MemoryRound]:
    """For orders in the middle of their life, and for the largest ones that still wait."""
    results: list[MemoryRound] = []
    for state, step in (("paid", PAID), ("prepared", PREPARED)):
        result = await _probe(state, step, sagas)
        results.append(result)
        say(f"memory, {state}: {result.bytes_per_saga:,.0f} bytes per saga, its record has {result.record_bytes:,}")
    return results


async def _probe(state: str, step: int, sagas: int) -> MemoryRound:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.memory_probe", f"--sagas={sagas}", f"--step={step}"),
        stdout=PIPE,
        stderr=PIPE,
        env=child_environment(),
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise RoundFailedError(f"the memory probe failed:\n{errors.decode(errors='replace')[-3000:]}")
    found = json.loads(output)
    return MemoryRound(state, int(found["sagas"]), found["bytes_per_saga"], int(found["record_bytes"]))


async def run(sizes: Sizes, say: Say) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(await measure_memory(say, sagas=sizes.memory_sagas))


def build_figures(rounds: Sequence[MemoryRound]) -> list[Figure]:
    """Bytes per idle saga by its state, and its record."""
    figures: list[Figure] = []
    for one in rounds:
        kept = (asdict(one),)
        record = Figure(f"memory.{one.state}_record", f"its record, {one.state}", one.record_bytes, "bytes", kept)
        figures += [
            Figure(f"memory.{one.state}", f"an idle saga, {one.state}", one.bytes_per_saga, "bytes", kept),
            record,
        ]
    return figures
