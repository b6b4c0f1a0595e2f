"""Who owns which home partition: the consumer group, with our own assignor.

One consumer per process is a member and nothing else: its partitions are paused, so it never fetches; the group's lag
and owners still show in Kafka's own tools. The leader's answer carries, in its user data, the owner and the advertised
address of every home partition, so each engine can send a reader to the right one.

Membership is static, the advertised address is the instance id: a process that was killed and comes back on the same
address takes its dead self's place at once, without a rebalance and without waiting for the session to time out. An
engine that stops in order leaves the group all the same, so that the others need not wait either.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.errors import translated
from flowmachine.core.assignment import assign_partitions
from flowmachine.ports import Assignment, Topics

SESSION_TIMEOUT_MS = 10_000
HEARTBEAT_INTERVAL_MS = 1_000
"""A rebalance waits until every member has heard of it, which is at its next heartbeat."""
REBALANCE_TIMEOUT_MS = 6_000
_POLL_SECONDS = 0.5


@final
class _Member(msgspec.Struct, frozen=True):
    """What a member tells the leader."""

    address: str
    owned: list[int]


@final
class _Answer(msgspec.Struct, frozen=True):
    """What the leader tells a member."""

    owned: list[int]
    owners: dict[int, str]
    input_partitions: dict[str, int]


class HomeAssignor(AbstractPartitionAssignor):
    """Spreads the home partitions; input partitions of the same number (modulo N) go along.

    aiokafka wants a class with class methods, so each process makes a subclass that holds its own state.
    """

    name = "flowmachine-home"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    topics: ClassVar[Topics]
    address: ClassVar[str]
    answer: ClassVar[_Answer | None] = None

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        told = {
            member_id: msgspec.json.decode(metadata.user_data, type=_Member) for member_id, metadata in members.items()
        }
        homes = cls.topics.home_partitions
        shares = assign_partitions({member_id: member.owned for member_id, member in told.items()}, homes)
        owners = {home: told[member_id].address for member_id, share in shares.items() for home in share}
        counts = {topic: len(cluster.partitions_for_topic(topic) or ()) for topic in cls.topics.inputs}
        return {
            member_id: ConsumerProtocolMemberAssignment(
                0,
                cls._topic_partitions(share, counts),
                msgspec.json.encode(_Answer(share, owners, counts)),
            )
            for member_id, share in shares.items()
        }

    @classmethod
    def _topic_partitions(cls, share: list[int], counts: Mapping[str, int]) -> list[tuple[str, list[int]]]:
        homes, owned = cls.topics.home_partitions, set(share)
        inputs = [(topic, [p for p in range(count) if p % homes in owned]) for topic, count in counts.items()]
        return [(cls.topics.intake, share), *inputs]

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        owned = cls.answer.owned if cls.answer is not None else []
        return ConsumerProtocolMemberMetadata(0, list(topics), msgspec.json.encode(_Member(cls.address, owned)))

    @classmethod
    def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
        cls.answer = msgspec.json.decode(assignment.user_data, type=_Answer)


class _Listener(ConsumerRebalanceListener):
    """Hands each assignment over. Raises nothing: aiokafka would swallow it."""

    def __init__(self, assignor: type[HomeAssignor], consumer: AIOKafkaConsumer) -> None:
        self.assignor = assignor
        self.consumer = consumer
        self.generation = 0
        self.assignments: asyncio.Queue[Assignment] = asyncio.Queue()

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Iterable[TopicPartition]
    ) -> None:
        """Nothing: tasks go on until the new assignment is known. Fencing, not revocation, keeps two owners apart."""

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        answer = self.assignor.answer
        if answer is None:
            return
        self.consumer.pause(*assigned)
        self.generation += 1
        self.assignments.put_nowait(
            Assignment(
                owned=frozenset(answer.owned),
                owners=answer.owners,
                input_partitions=answer.input_partitions,
                generation=self.generation,
            )
        )


async def run_membership(
    connection: KafkaConnection, topics: Topics, *, group: str, address: str
) -> AsyncGenerator[Assignment]:
    """Join `group`; yields after each rebalance. Closing the iterator leaves the group at once."""
    assignor = type("ProcessHomeAssignor", (HomeAssignor,), {"topics": topics, "address": address, "answer": None})
    while True:
        async with aclosing(_follow(connection, assignor, group)) as assignments:
            async for assignment in assignments:
                yield assignment


async def _follow(connection: KafkaConnection, assignor: type[HomeAssignor], group: str) -> AsyncGenerator[Assignment]:
    """As `run_membership`, for as long as the connection's credentials are these.

    It then leaves its place to the next consumer: with the same instance id that one is the same member.
    """
    credentials = connection.credentials
    arguments: dict[str, Any] = connection.client_arguments() | {
        "group_id": group,
        "group_instance_id": assignor.address,
        "partition_assignment_strategy": (assignor,),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
        "rebalance_timeout_ms": REBALANCE_TIMEOUT_MS,
        "retry_backoff_ms": 100,
    }
    consumer = AIOKafkaConsumer(**arguments)
    listener = _Listener(assignor, consumer)
    consumer.subscribe([assignor.topics.intake, *assignor.topics.inputs], listener=listener)
    is_leaving = True
    try:
        with translated(f"joining consumer group {group!r} on {connection.address}"):
            await consumer.start()
        while connection.credentials is credentials:
            try:
                assignment = await asyncio.wait_for(listener.assignments.get(), _POLL_SECONDS)
            except TimeoutError:
                with translated(f"being a member of consumer group {group!r}"):
                    await consumer.getmany(timeout_ms=0)  # fetches nothing; raises what the coordinator ran into
            else:
                yield assignment
        is_leaving = False
    finally:
        if is_leaving:
            _make_leaving(consumer)
        await stop_client(consumer)


def _make_leaving(consumer: AIOKafkaConsumer) -> None:
    """aiokafka 0.14 leaves a group only without an instance id; brokers take a leave by member id all the same."""
    coordinator: Any = getattr(consumer, "_coordinator", None)  # there is no public way
    if coordinator is not None:
        coordinator._group_instance_id = None  # noqa: SLF001
