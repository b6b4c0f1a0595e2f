"""Reading a machine's whole log, beside its engines: for `audit` and `sagas export`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from flowmachine.adapters.embedded.reader import EmbeddedReader
from flowmachine.adapters.kafka.reader import KafkaReader
from flowmachine.app import RunOptions, embedded_path
from flowmachine.config.resource import FlowMachine
from flowmachine.config.topic_names import consumer_group, kafka_channels
from flowmachine.connections import KafkaAccess
from flowmachine.ports import TopicPartition
from flowmachine.wire.log import InputRecord


class LogReader(Protocol):
    """What `KafkaReader` and `EmbeddedReader` have in common."""

    async def partition_counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How many partitions each topic has."""
        ...

    async def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """The engine group's offsets."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is still there, and the one behind the last."""
        ...

    def read(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """The records of these offsets, in batches."""
        ...


def open_reader(resource: FlowMachine, options: RunOptions) -> AbstractAsyncContextManager[LogReader]:
    """A reader of the machine's log, which writes nothing and disturbs no engine."""
    group = consumer_group(resource)
    if options.is_embedded or not kafka_channels(resource):
        return EmbeddedReader(embedded_path(resource, options), group)
    return KafkaReader(KafkaAccess(resource, options.secrets_dir).connection, group)
