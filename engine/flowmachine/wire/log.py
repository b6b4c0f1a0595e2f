"""Records as a log has them: raw keys, values and headers, with their coordinates."""

from collections.abc import Mapping, Sequence
from typing import Protocol, final

import msgspec

Headers = Sequence[tuple[str, bytes]]
Place = tuple[str, int | None]
"""A topic and a partition; None: where Kafka's default partitioner puts the key."""
CommandRow = tuple[bytes, bytes, Headers]
"""Key, value and headers."""
CommandRecords = Mapping[Place, Sequence[CommandRow]]
"""Commands by where they go, in their order."""
SagaRecords = Mapping[bytes, bytes | None]
"""Values of the `sagas` topic by their keys, one each; None is a tombstone."""


class InputRecord(Protocol):
    """A record read from a log. aiokafka's ConsumerRecord fits as it is, so the hot path copies nothing."""

    @property
    def topic(self) -> str:
        """The topic."""
        ...

    @property
    def partition(self) -> int:
        """The partition in the topic."""
        ...

    @property
    def offset(self) -> int:
        """The offset in the partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970."""
        ...

    @property
    def key(self) -> bytes | None:
        """The saga id, in a good record."""
        ...

    @property
    def value(self) -> bytes | None:
        """A message, in a good record; None is a tombstone."""
        ...

    @property
    def headers(self) -> Headers:
        """Names and values."""
        ...


@final
class OutputRecord(msgspec.Struct, frozen=True, gc=False):
    """A record to append.

    `value` None is a tombstone; `partition` None: where Kafka's default partitioner puts the key; `timestamp` None:
    now.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    headers: Headers = ()
    timestamp: int | None = None


@final
class StoredRecord(msgspec.Struct, frozen=True, gc=False):
    """An InputRecord as a plain value."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def as_output(sagas: SagaRecords, topic: str, partition: int) -> list[OutputRecord]:
    """The records of a home partition's changelog."""
    return [OutputRecord(topic, key, value, partition) for key, value in sagas.items()]


def commands_as_output(commands: CommandRecords) -> list[OutputRecord]:
    """The records of commands."""
    return [
        OutputRecord(topic, key, value, partition, headers)
        for (topic, partition), rows in commands.items()
        for key, value, headers in rows
    ]
