"""The inbox of a partition task: what it holds back, and that its end is heard of at once."""

import asyncio

import pytest

from flowmachine.errors import TransientError
from flowmachine.runtime.inbox import Inbox
from tests.support.builders import event_record

FOR_EVER = 60.0


async def test_a_batch_is_taken_in_order_and_the_rest_stays() -> None:
    inbox = Inbox(2)
    records = [event_record("step", offset=offset) for offset in range(3)]
    await inbox.put_records(records)
    assert await inbox.wait(FOR_EVER)
    assert inbox.take() == (records[:2], [])
    assert await inbox.wait(FOR_EVER)
    assert inbox.take() == (records[2:], [])
    assert inbox.is_empty


async def test_an_error_between_wait_and_take_is_raised_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2)
    await inbox.put_records([event_record("step")])
    assert await inbox.wait(FOR_EVER)
    inbox.fail(TransientError("the log is away"))
    inbox.take()
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await inbox.wait(FOR_EVER)


async def test_an_end_between_wait_and_take_is_seen_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2)
    await inbox.put_records([event_record("step")])
    assert await inbox.wait(FOR_EVER)
    inbox.close()
    inbox.take()
    async with asyncio.timeout(5):
        assert not await inbox.wait(FOR_EVER)
