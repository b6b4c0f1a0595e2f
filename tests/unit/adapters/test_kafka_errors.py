"""aiokafka's exceptions as ours, above all the cancellations that it makes up."""

import asyncio

import pytest

from flowmachine.adapters.kafka.errors import translated
from flowmachine.errors import TransientError


async def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    with (
        pytest.raises(TransientError, match="while reading orders/0: the client gave up"),
        translated("reading orders/0"),
    ):
        raise asyncio.CancelledError


async def test_a_cancellation_that_was_asked_for_stays_one() -> None:
    async def read() -> None:
        with translated("reading orders/0"):
            await asyncio.Event().wait()

    task = asyncio.create_task(read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_inside_is_said_as_such() -> None:
    with pytest.raises(TransientError, match="no answer in time"), translated("reading orders/0"):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
