"""A count that grows, watched until it is complete, and how fast it grew."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.errors import RoundFailedError
from bench.processes import Program, log_tail

_POLL_SECONDS = 0.1
_FIRST, _LAST = 0.1, 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """How much there was at a moment."""

    seconds: float
    """By the monotonic clock."""
    count: int


async def follow_count(
    program: Program, read: Callable[[], int], *, until: int, seconds_max: float, what: str
) -> list[Sample]:
    """Look again and again until there are so many. Raises RoundFailedError, also if the program ends."""
    samples: list[Sample] = []
    deadline = time.monotonic() + seconds_max
    while not samples or samples[-1].count < until:
        if not program.is_running:
            raise RoundFailedError(f"a program ended before all {what} were there:\n{log_tail(program.log_path)}")
        samples.append(Sample(time.monotonic(), await asyncio.to_thread(read)))
        if time.monotonic() > deadline:
            raise RoundFailedError(f"{samples[-1].count:,} of {until:,} {what} after {seconds_max:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)
    return samples


def rate_of(samples: Sequence[Sample]) -> float:
    """How many per second, between 10 % and 90 % of what came meanwhile. Raises RoundFailedError: too few to tell."""
    begin, count = samples[0].count, samples[-1].count - samples[0].count
    first = next(sample for sample in samples if sample.count - begin >= _FIRST * count)
    last = next(sample for sample in samples if sample.count - begin >= _LAST * count)
    if last.seconds <= first.seconds:
        raise RoundFailedError(f"{count:,} are too few: they came between two looks")
    return (last.count - first.count) / (last.seconds - first.seconds)
