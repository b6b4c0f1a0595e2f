"""Waiting for a condition: the only place in the tests that sleeps."""

import asyncio
import time
from collections.abc import Callable

_POLL_SECONDS = 0.05


async def eventually(condition: Callable[[], object], what: str, *, timeout_seconds: float = 30.0) -> None:
    """Return once the condition holds; it may block, so it runs in a thread. AssertionError says what never came."""
    deadline = time.monotonic() + timeout_seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not within {timeout_seconds:.0f} s: {what}"
        await asyncio.sleep(_POLL_SECONDS)
