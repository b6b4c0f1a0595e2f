"""The inbox of a partition task: what it holds back, and that its end is heard of at once."""

import asyncio

import pytest

from flowmachine.errors import TransientError
from flowmachine.runtime.inbox import Inbox
from tests.support.builders import event_record, resumed

FOR_EVER = 60.0
BYTES_MAX = 1_000_000


async def test_a_batch_is_taken_in_order_and_the_rest_stays() -> None:
    inbox = Inbox(2, BYTES_MAX)
    records = [event_record("step", offset=offset) for offset in range(3)]
    await inbox.put_records(records)
    assert await inbox.wait(FOR_EVER)
    assert inbox.take() == (records[:2], [])
    assert await inbox.wait(FOR_EVER)
    assert inbox.take() == (records[2:], [])
    assert inbox.is_empty


async def test_an_error_between_wait_and_take_is_raised_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2, BYTES_MAX)
    await inbox.put_records([event_record("step")])
    assert await inbox.wait(FOR_EVER)
    inbox.fail(TransientError("the log is away"))
    inbox.take()
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await inbox.wait(FOR_EVER)


async def test_an_end_between_wait_and_take_is_seen_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2, BYTES_MAX)
    await inbox.put_records([event_record("step")])
    assert await inbox.wait(FOR_EVER)
    inbox.close()
    inbox.take()
    async with asyncio.timeout(5):
        assert not await inbox.wait(FOR_EVER)


async def test_what_a_batch_has_no_room_for_comes_first_again() -> None:
    inbox = Inbox(4, BYTES_MAX)
    records = [event_record("step", offset=offset) for offset in range(6)]
    first, second = resumed(saga_id="first"), resumed(saga_id="second")
    await inbox.put_records(records)
    inbox.put_internal(first)
    inbox.put_internal(second)
    taken, internal = inbox.take()
    inbox.put_back(taken[1:], internal[1:])
    assert inbox.full.is_set()
    assert inbox.take() == (records[1:5], [second])
    assert not inbox.full.is_set()
    assert inbox.take() == (records[5:], [])


async def test_readers_wait_behind_two_batches_of_large_records_too() -> None:
    inbox = Inbox(1_000, 1_000)
    large = event_record("step", {"text": "x" * 1_000})
    await inbox.put_records([large])
    assert inbox.full.is_set()
    await inbox.put_records([large])
    waiting = asyncio.create_task(inbox.put_records([large]))
    await asyncio.sleep(0)
    assert not waiting.done()
    taken, _ = inbox.take()
    inbox.put_back(taken[1:], [])  # one is on its way, one is left
    async with asyncio.timeout(5):
        await waiting
    assert len(inbox.take()[0]) == 2


async def test_bytes_of_what_has_been_taken_do_not_count_any_more() -> None:
    inbox = Inbox(2, 1_000)
    large, small = event_record("step", {"text": "x" * 1_000}), event_record("step")
    await inbox.put_records([large, small, small])
    assert inbox.full.is_set()
    assert inbox.take() == ([large, small], [])
    assert not inbox.full.is_set()
    await inbox.put_records([large])
    assert inbox.take() == ([small, large], [])
    assert not inbox.full.is_set()
    assert inbox.is_empty
