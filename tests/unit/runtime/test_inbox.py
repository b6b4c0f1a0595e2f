"""The inbox of a partition task: what it holds back, and that its end is heard of at once."""

import asyncio
from contextlib import closing
from itertools import chain, islice, pairwise

import pytest

from flowmachine.errors import TransientError
from flowmachine.runtime.inbox import Inbox
from flowmachine.wire.log import Fetch, InputRecord
from tests.support.builders import event_record, resumed

FOR_EVER = 60.0
BYTES_MAX = 1_000_000
TOPIC = "events"


def steps(count: int) -> list[InputRecord]:
    return [event_record("step", offset=offset) for offset in range(count)]


def take(inbox: Inbox, count: int | None = None) -> list[InputRecord]:
    """What a batch takes that has room for `count` records."""
    with closing(inbox.take_pieces()) as pieces:
        return list(islice(chain.from_iterable(pieces), count))


async def test_a_batch_is_taken_in_order_and_the_rest_stays() -> None:
    inbox = Inbox(2, BYTES_MAX)
    records = steps(3)
    await inbox.put(TOPIC, Fetch.of(records))
    assert await inbox.wait(FOR_EVER)
    assert take(inbox) == records[:2]
    assert await inbox.wait(FOR_EVER)
    assert take(inbox) == records[2:]
    assert inbox.is_empty


async def test_an_error_between_wait_and_take_is_raised_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2, BYTES_MAX)
    await inbox.put(TOPIC, Fetch.of(steps(1)))
    assert await inbox.wait(FOR_EVER)
    inbox.fail(TransientError("the log is away"))
    take(inbox)
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await inbox.wait(FOR_EVER)


async def test_an_end_between_wait_and_take_is_seen_by_the_next_wait_at_once() -> None:
    inbox = Inbox(2, BYTES_MAX)
    await inbox.put(TOPIC, Fetch.of(steps(1)))
    assert await inbox.wait(FOR_EVER)
    inbox.close()
    take(inbox)
    async with asyncio.timeout(5):
        assert not await inbox.wait(FOR_EVER)


async def test_what_a_batch_has_no_room_for_comes_first_again() -> None:
    inbox = Inbox(4, BYTES_MAX)
    records = steps(6)
    first, second = resumed(saga_id="first"), resumed(saga_id="second")
    await inbox.put(TOPIC, Fetch.of(records))
    inbox.put_internal(first)
    inbox.put_internal(second)
    assert inbox.take_internal() == [first, second]
    assert take(inbox, 1) == records[:1]
    inbox.put_back([second])
    assert inbox.full.is_set()
    assert inbox.take_internal() == [second]
    assert take(inbox) == records[1:5]
    assert not inbox.full.is_set()
    assert take(inbox) == records[5:]
    assert inbox.is_empty


@pytest.mark.parametrize("room", [1, 63, 64, 65, 100, 128, 130])
async def test_nothing_is_lost_or_told_twice_wherever_a_batch_ends(room: int) -> None:
    inbox = Inbox(130, BYTES_MAX)
    records = steps(300)
    for start, end in pairwise((0, 70, 200, 300)):
        await inbox.put(TOPIC, Fetch.of(records[start:end]))
    taken: list[InputRecord] = []
    while not inbox.is_empty:
        taken += take(inbox, room)
        assert inbox.count == len(records) - len(taken)
    assert taken == records


async def test_it_knows_which_fetches_have_been_taken_to_their_end() -> None:
    inbox = Inbox(3, BYTES_MAX)
    await inbox.put(TOPIC, Fetch.of(steps(2)))
    await inbox.put(TOPIC, Fetch.of(steps(2)))
    assert (inbox.received, inbox.finished) == (2, 0)
    take(inbox)
    assert inbox.finished == 1
    take(inbox)
    assert inbox.finished == inbox.received == 2


async def test_topics_take_turns() -> None:
    inbox = Inbox(4, BYTES_MAX)
    events, creations = steps(7), steps(5)
    async with asyncio.timeout(5):
        await inbox.put(TOPIC, Fetch.of(events))
        await inbox.put("intake", Fetch.of(creations))
    assert take(inbox) == events[:4]
    assert take(inbox) == creations[:4]
    assert take(inbox, 1) == events[4:5]
    assert take(inbox, 2) == [creations[4], events[5]], "the room that one leaves is for the next"
    assert inbox.finished == 0, "the second one has ended, the first has not"
    assert take(inbox) == events[6:]
    assert inbox.finished == 2


async def test_what_waits_for_room_has_not_ended() -> None:
    inbox = Inbox(1, BYTES_MAX)
    await inbox.put(TOPIC, Fetch.of(steps(2)))
    waiting = asyncio.create_task(inbox.put("intake", Fetch.of(steps(1))))
    await asyncio.sleep(0)
    assert (inbox.received, inbox.finished) == (2, 0)
    take(inbox)
    take(inbox)
    assert inbox.finished == 1
    await waiting
    assert inbox.finished == 1
    take(inbox)
    assert inbox.finished == 2


@pytest.mark.parametrize("there", [0, 1, 2, 3])
async def test_a_fetch_may_hold_less_than_it_promised(there: int) -> None:
    inbox = Inbox(2, BYTES_MAX)
    records = steps(there)
    await inbox.put(TOPIC, Fetch(records, 5, 1000))
    assert inbox.full.is_set()
    taken: list[InputRecord] = []
    while not inbox.is_empty:
        taken += take(inbox)
    assert taken == records
    assert inbox.finished == 1
    assert inbox.count == 0
    assert not inbox.full.is_set()


async def test_readers_wait_behind_two_batches_of_large_records_too() -> None:
    inbox = Inbox(1_000, 1_000)
    large = event_record("step", {"text": "x" * 1_000})
    await inbox.put(TOPIC, Fetch.of([large]))
    assert inbox.full.is_set()
    await inbox.put(TOPIC, Fetch.of([large]))
    waiting = asyncio.create_task(inbox.put(TOPIC, Fetch.of([large])))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (inbox.count, inbox.received) == (3, 3)
    assert take(inbox, 1) == [large]  # one is on its way, one is left
    async with asyncio.timeout(5):
        await waiting
    assert inbox.count == 2
    assert len(take(inbox)) == 2


async def test_who_waits_for_room_and_gives_up_is_not_counted_any_more() -> None:
    inbox = Inbox(1, BYTES_MAX)
    await inbox.put(TOPIC, Fetch.of(steps(2)))
    waiting = asyncio.create_task(inbox.put(TOPIC, Fetch.of(steps(3))))
    await asyncio.sleep(0)
    assert inbox.count == 5
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert inbox.count == 2


async def test_bytes_of_what_has_been_taken_do_not_count_any_more() -> None:
    inbox = Inbox(2, 1_000)
    large, small = event_record("step", {"text": "x" * 1_000}), event_record("step")
    await inbox.put(TOPIC, Fetch.of([large, small, small]))
    assert inbox.full.is_set()
    assert take(inbox) == [large, small]
    assert not inbox.full.is_set()
    await inbox.put(TOPIC, Fetch.of([large]))
    assert take(inbox) == [small, large]
    assert not inbox.full.is_set()
    assert inbox.is_empty
