"""Deliveries of commands over HTTP: their order, their attempts, their end."""

import pytest

from flowmachine.core.payload import decode_payload, encode_payload
from flowmachine.core.saga import OutboxEntry
from flowmachine.runtime.delivery import Delivery, DeliverySettings
from tests.support.delivery_fakes import HeldSender, RecordingObserver, Settled

MAIN_1 = OutboxEntry("1", "http", "executePayment", encode_payload({"total": 1}))
MAIN_2 = OutboxEntry("2", "http", "prepareOrder", encode_payload({"total": 2}))
MAIN_3 = OutboxEntry("3", "http", "deliverOrder", encode_payload({}))
SIDE_1 = OutboxEntry("1.1", "http", "tellCustomer", encode_payload({}), is_side_command=True)
SIDE_2 = OutboxEntry("1.2", "http", "countOrder", encode_payload({}), is_side_command=True)
FAILED_1 = OutboxEntry("1", "http", "executePayment", encode_payload({"total": 1}), failure="answered 500")

AT_ONCE = DeliverySettings(attempts_max=3, side_attempts_max=2, pause_first_seconds=0, pause_seconds_max=0)


class Bench:
    """A Delivery with fakes around it."""

    def __init__(self) -> None:
        self.sender = HeldSender()
        self.observer = RecordingObserver()
        self.settled = Settled()
        self.delivery = Delivery({"http": self.sender}, AT_ONCE, self.observer)

    def update(self, *outbox: OutboxEntry, saga_id: str = "order-1", partition: int = 0) -> None:
        self.delivery.update(partition, saga_id, outbox, self.settled)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_command_is_sent_with_a_stable_key_and_settled(bench: Bench) -> None:
    bench.update(MAIN_1)
    attempt = await bench.sender.next_attempt()
    assert (attempt.saga_id, attempt.label, decode_payload(attempt.payload)) == (
        "order-1",
        "executePayment",
        {"total": 1},
    )
    assert attempt.idempotency_key == "order-1:1"
    assert bench.delivery.in_flight == 1
    attempt.succeed()
    assert await bench.settled.next() == ("order-1", "1", None)
    bench.update()
    assert bench.delivery.in_flight == 0
    assert bench.observer.commands == [("http", "delivered")]


async def test_main_commands_of_a_saga_go_one_after_the_other(bench: Bench) -> None:
    bench.update(MAIN_1, MAIN_2, MAIN_3)
    first = await bench.sender.next_attempt()
    assert first.label == "executePayment"
    assert await bench.sender.is_quiet()
    first.succeed()
    await bench.settled.next()
    assert await bench.sender.is_quiet()  # the outbox has not changed yet
    bench.update(MAIN_2, MAIN_3)
    second = await bench.sender.next_attempt()
    assert second.label == "prepareOrder"
    assert await bench.sender.is_quiet()


async def test_side_commands_go_beside_the_main_one(bench: Bench) -> None:
    bench.update(MAIN_1, SIDE_1, SIDE_2, MAIN_2)
    labels = {(await bench.sender.next_attempt()).label for _ in range(3)}
    assert labels == {"executePayment", "tellCustomer", "countOrder"}
    assert await bench.sender.is_quiet()
    assert bench.delivery.in_flight == 3


async def test_sagas_do_not_wait_for_each_other(bench: Bench) -> None:
    bench.update(MAIN_1, saga_id="order-1")
    bench.update(MAIN_1, saga_id="order-2")
    assert {(await bench.sender.next_attempt()).idempotency_key for _ in range(2)} == {"order-1:1", "order-2:1"}


async def test_command_under_way_is_not_sent_again_by_an_update(bench: Bench) -> None:
    bench.update(MAIN_1)
    attempt = await bench.sender.next_attempt()
    bench.update(MAIN_1, MAIN_2)
    bench.update(MAIN_1, SIDE_1, MAIN_2)
    assert (await bench.sender.next_attempt()).label == "tellCustomer"
    assert await bench.sender.is_quiet()
    attempt.succeed()
    assert await bench.settled.next() == ("order-1", "1", None)


async def test_failed_attempt_is_tried_again_with_the_same_key(bench: Bench) -> None:
    bench.update(MAIN_1)
    keys = set()
    for _ in range(2):
        attempt = await bench.sender.next_attempt()
        keys.add(attempt.idempotency_key)
        attempt.fail()
    attempt = await bench.sender.next_attempt()
    assert keys == {attempt.idempotency_key}
    attempt.succeed()
    assert await bench.settled.next() == ("order-1", "1", None)
    assert bench.observer.commands == [("http", "retried"), ("http", "retried"), ("http", "delivered")]


async def test_main_command_fails_once_its_attempts_are_used_up(bench: Bench) -> None:
    bench.update(MAIN_1)
    for number in range(AT_ONCE.attempts_max):
        (await bench.sender.next_attempt()).fail(f"answer {number + 1}")
    assert await bench.settled.next() == ("order-1", "1", "answer 3")
    assert await bench.sender.is_quiet()
    assert bench.observer.commands[-1] == ("http", "failed")


async def test_side_command_is_dropped_within_its_own_bound(bench: Bench) -> None:
    bench.update(SIDE_1)
    for _ in range(AT_ONCE.side_attempts_max):
        (await bench.sender.next_attempt()).fail()
    assert await bench.settled.next() == ("order-1", "1.1", "answered 500")
    assert await bench.sender.is_quiet()
    assert bench.observer.commands[-1] == ("http", "dropped")


async def test_failed_command_is_left_alone_and_the_next_one_goes(bench: Bench) -> None:
    bench.update(FAILED_1, MAIN_2)
    assert (await bench.sender.next_attempt()).label == "prepareOrder"
    assert await bench.sender.is_quiet()
    assert bench.delivery.in_flight == 1


async def test_channel_that_is_gone_fails_its_commands(bench: Bench) -> None:
    bench.update(OutboxEntry("1", "removed", "executePayment", encode_payload({})))
    assert await bench.settled.next() == ("order-1", "1", "its channel is not in this machine")
    assert bench.observer.commands == [("removed", "failed")]


async def test_release_cancels_what_is_under_way_and_settles_nothing(bench: Bench) -> None:
    bench.update(MAIN_1, SIDE_1)
    for _ in range(2):
        await bench.sender.next_attempt()
    bench.delivery.release(0)
    assert bench.delivery.in_flight == 0
    assert await bench.sender.is_quiet()
    assert bench.sender.cancelled == 2
    assert bench.settled.is_empty


async def test_release_leaves_other_partitions_alone(bench: Bench) -> None:
    bench.update(MAIN_1, saga_id="order-1", partition=0)
    bench.update(MAIN_1, saga_id="order-2", partition=1)
    attempts = {attempt.saga_id: attempt for attempt in [await bench.sender.next_attempt() for _ in range(2)]}
    bench.delivery.release(0)
    bench.delivery.release(7)
    attempts["order-2"].succeed()
    assert await bench.settled.next() == ("order-2", "1", None)
    assert bench.sender.cancelled == 1


async def test_partition_that_comes_back_sends_again(bench: Bench) -> None:
    bench.update(MAIN_1)
    await bench.sender.next_attempt()
    bench.delivery.release(0)
    bench.update(MAIN_1)
    again = await bench.sender.next_attempt()
    assert again.idempotency_key == "order-1:1"


async def test_outbox_is_counted_by_what_its_commands_wait_for(bench: Bench) -> None:
    bench.update(MAIN_1, MAIN_2, SIDE_1)
    bench.update(FAILED_1, saga_id="order-2", partition=1)
    assert bench.observer.outbox == {("http", "answer"): 3, ("http", "person"): 1}
    bench.update(FAILED_1, MAIN_2)
    assert bench.observer.outbox == {("http", "answer"): 1, ("http", "person"): 2}
    bench.delivery.release(0)
    assert bench.observer.outbox == {("http", "answer"): 0, ("http", "person"): 1}
    bench.update(saga_id="order-2", partition=1)
    assert set(bench.observer.outbox.values()) == {0}
