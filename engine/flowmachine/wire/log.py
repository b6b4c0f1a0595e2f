"""Records as a log has them: raw keys, values and headers, with their coordinates."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
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


class Fetch:
    """What a source has read at once. Its records are made when they are taken; until then they may be plain bytes.

    Records that are made long before they are needed have left the processor's caches by then (`docs/performance.md`).
    """

    def __init__(self, records: Iterable[InputRecord], count: int, size: int) -> None:
        """`count`: at most so many they are; `size`: bytes that they take."""
        self._records = iter(records)
        self.count = count
        """At most so many are left."""
        self.size = size
        """About so many bytes are left."""

    @classmethod
    def of(cls, records: Sequence[InputRecord]) -> "Fetch":
        """Records that are there already."""
        return cls(records, len(records), sum(len(record.value or b"") for record in records))

    def take(self, count_max: int) -> list[InputRecord]:
        """The next records; fewer than `count_max` are the last ones. Raises TransientError if they cannot be read."""
        taken = list(islice(self._records, count_max))
        left = self.count - len(taken) if len(taken) == count_max else 0
        self.size = self.size * left // self.count if left else 0
        self.count = left
        return taken


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
