"""Pauses between tries."""

import random
from collections.abc import Iterator


def backoff(*, first_seconds: float, seconds_max: float) -> Iterator[float]:
    """Endless pauses that double up to a bound, with jitter down to a half so that many do not march in step."""
    pause = first_seconds
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing
        pause = min(pause * 2, seconds_max)
