"""The order machine on a real broker, for tests that break things: its file, its topics, its participants, its auditor.

The auditor reads what a stranger would see (read_committed) and compares it with what the machine says: each command of
each saga exactly once and in order, each saga in one final state.
"""

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from flowmachine.core.partitioners import java_murmur2
from flowmachine.participants import Command, Event, KafkaTransport, Participant
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.journal import JOURNAL_KEY, is_control
from flowmachine.wire.message import COMMAND_ID_HEADER, decode_message
from flowmachine.wire.record import decode_head
from tests.support.kafka import create_topics, read_all, unique_name

STEPS = (
    ("executePayment", "paymentExecuted"),
    ("prepareOrder", "orderPrepared"),
    ("deliverOrder", "orderDelivered"),
)
COMMANDS = [command for command, _ in STEPS]
SMALL_BATCH = 100
"""Records of a batch that fits one record batch: without transactions where that may be."""
DELIVERIES: Mapping[str, Mapping[str, Any]] = {
    "exactlyOnce": {},
    "atLeastOnce": {"delivery": "atLeastOnce", "batch": {"maxRecords": SMALL_BATCH}},
}
"""Settings by mode of delivery."""
_STATES = ("created", "paid", "prepared", "delivered")
_POLL_SECONDS = 0.05
_READ_BYTES = 4 * 1024 * 1024


def order_document(name: str, channel: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """The order machine without error branches: created, paid, prepared, delivered."""
    states: list[dict[str, Any]] = [
        {
            "id": state,
            "isFinal": False,
            "businessStateId": 0,
            "outputCommand": {"channel": "services", "label": command},
            "outgoingTransitions": [{"inputEvent": event, "targetState": target}],
        }
        for (command, event), state, target in zip(STEPS, _STATES, _STATES[1:], strict=False)
    ]
    states.append({"id": "delivered", "isFinal": True, "businessStateId": 1})
    return {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {"name": name},
        "spec": {
            "machine": {
                "initialState": "created",
                "creationEvent": "__created__",
                "businessStates": [{"id": 0, "description": "open"}, {"id": 1, "description": "done"}],
                "states": states,
            },
            "channels": [{"id": "services", **channel}],
            "settings": settings,
        },
    }


@dataclass(frozen=True, slots=True)
class Orders:
    """One order machine with topics of its own on a broker."""

    name: str
    bootstrap: str
    file: Path
    namespace: str = ""
    """Of its FlowMachine; part of the names of its own topics."""

    @property
    def events(self) -> str:
        return f"{self.name}-events"

    @property
    def commands(self) -> str:
        return f"{self.name}-commands"

    @property
    def _stem(self) -> str:
        return ".".join(part for part in ("flowmachine", self.namespace, self.name) if part)

    @property
    def intake(self) -> str:
        return f"{self._stem}.intake"

    @property
    def sagas(self) -> str:
        return f"{self._stem}.sagas"

    @property
    def unmatched(self) -> str:
        return f"{self._stem}.unmatched"


async def prepare_orders(
    bootstrap: str,
    folder: Path,
    *,
    event_partitions: int = 4,
    command_partitions: int = 4,
    channel: Mapping[str, Any] | None = None,
    create: bool = True,
    namespace: str = "",
    **settings: Any,
) -> Orders:
    """Write the machine's file, and create its topics."""
    name = unique_name("orders")
    orders = Orders(name, bootstrap, folder / f"{name}.yaml", namespace)
    kafka = {
        "brokers": [bootstrap],
        "inputTopics": [orders.events],
        "outputTopics": [orders.commands],
        "consumerGroup": name,
        **(channel or {}),
    }
    document = order_document(name, {"kafka": kafka}, **settings)
    if namespace:
        document["metadata"]["namespace"] = namespace
    orders.file.write_text(yaml.safe_dump(document, sort_keys=False))
    if create:
        await create_topics(bootstrap, {orders.events: event_partitions, orders.commands: command_partitions})
    return orders


def send_preparations_over_http(orders: Orders, port: int) -> None:
    """Have the machine send `prepareOrder` to the channel `kitchen`, at this port, instead of over Kafka."""
    document = yaml.safe_load(orders.file.read_text())
    document["spec"]["channels"].append({"id": "kitchen", "rest": {"host": "127.0.0.1", "port": port}})
    document["spec"]["machine"]["states"][1]["outputCommand"]["channel"] = "kitchen"
    orders.file.write_text(yaml.safe_dump(document, sort_keys=False))


def change_settings(orders: Orders, settings: Mapping[str, Any]) -> None:
    """Write other settings into the machine's file; an engine that starts from now on has them."""
    document = yaml.safe_load(orders.file.read_text())
    document["spec"]["settings"] = dict(settings)
    orders.file.write_text(yaml.safe_dump(document, sort_keys=False))


async def create_sagas(
    orders: Orders, count: int, *, prefix: str = "saga", partitions: int = 4, padding_bytes: int = 0
) -> list[str]:
    """Append creations to the intake as `POST /saga` does; returns the ids. Waits for the engine to make the topic.

    `padding_bytes`: how much larger their metadata is.
    """
    producer = AIOKafkaProducer(bootstrap_servers=orders.bootstrap, acks="all", enable_idempotence=True)
    padding = {"padding": os.urandom(padding_bytes // 2).hex()} if padding_bytes else {}
    ids = [f"{prefix}-{number:06d}" for number in range(count)]
    await producer.start()
    try:
        for start in range(0, count, 1000):
            sent = [
                await producer.send(
                    orders.intake,
                    key=saga_id.encode(),
                    value=encode_creation(Creation(saga_id, {"order": saga_id, "amount": 10, **padding})),
                    partition=java_murmur2(saga_id.encode(), partitions),
                    headers=list(CREATE_HEADERS),
                )
                for saga_id in ids[start : start + 1000]
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()
    return ids


@asynccontextmanager
async def running_participants(
    orders: Orders, *, before_answer: Callable[[Command], None] = lambda _: None, **client_arguments: Any
) -> AsyncGenerator[None]:
    """Participants that answer every command with its event, until the block ends; arguments go to aiokafka."""
    participant = Participant()
    for command, event in STEPS:
        participant.on(command)(_answer(event, before_answer))
    transport = KafkaTransport(
        orders.bootstrap.split(","),
        [orders.commands],
        orders.events,
        f"{orders.name}-participants",
        client_arguments,
    )
    run = asyncio.create_task(participant.run(transport))
    try:
        yield
    finally:
        run.cancel()
        (result,) = await asyncio.gather(run, return_exceptions=True)
        if isinstance(result, Exception):
            raise result


def _answer(event: str, before_answer: Callable[[Command], None]) -> Callable[[Command], Any]:
    async def answer(command: Command) -> Event:
        before_answer(command)
        return Event(event, {event: True})

    return answer


class FinalStates:
    """Follows the sagas topic and remembers every final state that each saga was seen in."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self.by_saga: dict[str, set[str]] = defaultdict(set)
        self.records: Counter[str] = Counter()
        self._latest: dict[str, str] = {}

    async def wait_for(self, ids: Sequence[str], *, timeout_seconds: float) -> None:
        """Return once these sagas are in a final state. Raises TimeoutError with how far it got."""
        wanted = set(ids)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._orders.bootstrap,
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_READ_BYTES,
        )
        await consumer.start()
        deadline = time.monotonic() + timeout_seconds
        try:
            found = await consumer._client.fetch_all_metadata()  # a consumer without a group knows no other way
            partitions = [TopicPartition(self._orders.sagas, p) for p in found.partitions_for_topic(self._orders.sagas)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            while wanted:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"{len(wanted)} of {len(ids)} sagas not finished in {timeout_seconds:.0f} s: "
                        f"{dict(Counter(self._latest.get(saga_id, 'no record') for saga_id in wanted))}"
                    )
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self._note(record.key, record.value, record.partition)
                wanted -= self.by_saga.keys()
        finally:
            await consumer.stop()

    def _note(self, key: bytes, value: bytes | None, partition: int) -> None:
        if is_control(key):
            return
        self.records[key.decode()] += 1
        if value is not None:
            head = decode_head(value)
            self._latest[key.decode()] = f"{head.current_state} in partition {partition}"
            if head.is_final:
                self.by_saga[key.decode()].add(head.current_state)


async def read_commands(
    orders: Orders, expected: int | None, *, drops_repeats: bool = False, timeout_seconds: float = 120
) -> dict[str, list[str]]:
    """Labels of the visible commands by saga, in the order of the topic; reads to the topic's end, not to a number.

    `drops_repeats`: as a receiver does that has had a command of the same id; what it drops must be the same. Commands
    that an engine with transactions has sent have no id, and do not repeat.
    """
    had: dict[bytes, bytes] = {}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=orders.bootstrap,
        group_id=None,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_READ_BYTES,
    )
    await consumer.start()
    labels: dict[str, list[str]] = defaultdict(list)
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await consumer._client.fetch_all_metadata()
            partitions = [TopicPartition(orders.commands, p) for p in found.partitions_for_topic(orders.commands)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        command_id = dict(record.headers).get(COMMAND_ID_HEADER) if drops_repeats else None
                        if command_id is not None:
                            if command_id in had:
                                assert had[command_id] == record.value, f"two commands with id {command_id!r}"
                                continue
                            had[command_id] = record.value
                        labels[record.key.decode()].append(decode_message(record.value).message_label)
    finally:
        await consumer.stop()
    found_count = sum(map(len, labels.values()))
    assert expected is None or found_count == expected, f"{found_count} commands, expected {expected}"
    return labels


async def assert_without_transactions(orders: Orders) -> None:
    """Batches have gone without a transaction, as `delivery: atLeastOnce` allows."""
    keys = {record.key for record in await read_all(orders.bootstrap, orders.sagas)}
    assert JOURNAL_KEY in keys, "no batch went without a transaction"


async def assert_exactly_once(
    orders: Orders,
    ids: Sequence[str],
    finals: FinalStates,
    *,
    may_have_more: bool = False,
    drops_repeats: bool = False,
) -> None:
    """Each saga in one final state, each command once and in order; `may_have_more`: of other sagas too."""
    wrong_finals = {
        saga_id: finals.by_saga.get(saga_id) for saga_id in ids if finals.by_saga.get(saga_id) != {"delivered"}
    }
    assert not wrong_finals, f"sagas without exactly one final state: {dict(list(wrong_finals.items())[:5])}"
    expected = None if may_have_more else len(COMMANDS) * len(ids)
    labels = await read_commands(orders, expected, drops_repeats=drops_repeats)
    wrong = {saga_id: labels.get(saga_id) for saga_id in ids if labels.get(saga_id) != COMMANDS}
    assert not wrong, f"commands lost, doubled or out of order: {dict(list(wrong.items())[:5])}"
