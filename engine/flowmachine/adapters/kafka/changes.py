"""The `sagas` topic for the projector: a consumer group of its own, whose members share the partitions."""

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.errors import translated
from flowmachine.errors import TransientError
from flowmachine.wire.log import InputRecord

SESSION_TIMEOUT_MS = 10_000
_FETCH_BYTES = 2 * 1024 * 1024
_POLL_INTERVAL_MAX_MS = 24 * 60 * 60 * 1000
"""A store may be away for a day: that is no reason to leave the group. Heartbeats go on by themselves meanwhile."""


class KafkaChanges:
    """Fulfils `ports.SagaChanges`."""

    def __init__(self, connection: KafkaConnection, *, topic: str, group: str) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._credentials = connection.credentials
        self._consumer: AIOKafkaConsumer | None = None
        self._pending: dict[TopicPartition, tuple[int, int]] = {}
        """Partition -> first offset that is not committed, and the one behind the last that was fetched."""

    async def start(self) -> None:
        await self.stop()
        self._credentials = self._connection.credentials
        consumer = AIOKafkaConsumer(
            self._topic,
            **self._connection.client_arguments(),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            max_poll_interval_ms=_POLL_INTERVAL_MAX_MS,
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=1_000,
        )
        try:
            with translated(f"joining consumer group {self._group!r}"):
                await consumer.start()
        except BaseException:
            await stop_client(consumer)
            raise
        self._consumer, self._pending = consumer, {}

    async def fetch(self, records_max: int, *, timeout_seconds: float) -> Sequence[InputRecord]:
        consumer = self._started()
        if self._connection.credentials is not self._credentials:
            raise TransientError("the credentials have changed: joining the group again with the new ones")
        with translated(f"reading {self._topic}"):
            fetched = await consumer.getmany(timeout_ms=int(timeout_seconds * 1000), max_records=records_max)
        records: list[InputRecord] = []
        for topic_partition, found in fetched.items():
            first = self._pending.get(topic_partition, (found[0].offset, 0))[0]
            self._pending[topic_partition] = (first, found[-1].offset + 1)
            records.extend(found)
        return records

    async def commit(self) -> None:
        """As the port says. Partitions that another member has got meanwhile are its own to commit."""
        consumer = self._started()
        offsets = {tp: end for tp, (_, end) in self._pending.items() if tp in consumer.assignment()}
        self._pending = {}
        if not offsets:
            return
        try:
            with translated(f"committing the offsets of group {self._group!r}"):
                await consumer.commit(offsets)
        except TransientError as error:
            if not isinstance(error.__cause__, kafka.CommitFailedError | kafka.IllegalStateError):
                raise

    async def lag(self) -> int:
        consumer = self._started()
        with translated(f"asking for the ends of {self._topic}"):
            partitions = sorted(consumer.assignment())
            ends = await consumer.end_offsets(partitions) if partitions else {}
            lag = 0
            for topic_partition, end in ends.items():
                done = self._pending.get(topic_partition, (None, 0))[0]
                lag += max(0, end - (await consumer.position(topic_partition) if done is None else done))
        return lag

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_client(consumer)

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise TransientError("the projector has not joined its group")
        return self._consumer
