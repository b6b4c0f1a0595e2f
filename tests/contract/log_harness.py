"""What the log's contract is put to: a log, its topics, and ways to look at it around the port."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from flowmachine.ports import Log, PartitionLog, Source
from flowmachine.wire.log import CommandRecords, CommandRow, Fetch, InputRecord, OutputRecord, Place

HOME_PARTITIONS = 2

WIDE_PARTITIONS = 5

OUTPUT_PARTITIONS = 3

WAIT_SECONDS = 30.0
"""For what must happen: long, because a young broker is slow."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ContractTopics:
    """Topic names of one test; the harness makes the inputs and the output, `Log.start` the machine's own."""

    intake: str
    """`HOME_PARTITIONS` partitions, as `sagas` and `unmatched`."""
    sagas: str
    unmatched: str
    input: str
    """`HOME_PARTITIONS` partitions."""
    wide_input: str
    """`WIDE_PARTITIONS` partitions."""
    output: str
    """`OUTPUT_PARTITIONS` partitions."""


class LogHarness(Protocol):
    """One log, empty at the start of a test, and ways around the port to look at it."""

    @property
    def topics(self) -> ContractTopics: ...

    async def make_log(self) -> Log:
        """A new handle, started; two handles are two engines. The harness stops it after the test if it still runs."""
        ...

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        """Append records as any client would; all of them name their partition."""
        ...

    async def read_committed(self, topic: str) -> Sequence[InputRecord]:
        """All records that a read_committed reader sees now, each partition in the order of its offsets."""
        ...


async def soon(awaitable: Awaitable[_T]) -> _T:
    """The result of what must come."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await awaitable


def source_of(log: PartitionLog, topic: str) -> Source:
    """The source of a topic that has one partition for this home partition."""
    (source,) = [source for source in log.sources if source.topic == topic]
    return source


_left: WeakKeyDictionary[Source, Fetch] = WeakKeyDictionary()
"""What sources have brought, and nobody has asked for so far."""


async def fetch_some(source: Source, records_max: int = 100) -> list[InputRecord]:
    """The next records, at least one."""
    while True:
        fetch = _left.pop(source, None) or await source.fetch()
        records = fetch.take(records_max)
        if fetch.count:
            _left[source] = fetch
        if records:
            return records


async def fetch_count(source: Source, count: int) -> list[InputRecord]:
    """The next `count` records."""
    records: list[InputRecord] = []
    while len(records) < count:
        records += await soon(fetch_some(source, count - len(records)))
    return records


async def restore_into(log: PartitionLog, state: dict[bytes, bytes], from_offset: int) -> list[InputRecord]:
    """Bring `state` up to date as an engine does, and return what was read."""
    records: list[InputRecord] = []
    async with aclosing(log.restore(from_offset)) as batches:
        async for batch in batches:
            records += batch
    for record in records:
        assert record.key is not None
        if record.value is None:
            state.pop(record.key, None)
        else:
            state[record.key] = record.value
    return records


def values(records: Sequence[InputRecord]) -> list[bytes | None]:
    return [record.value for record in records]


def as_commands(records: Iterable[OutputRecord]) -> CommandRecords:
    """The same records as a transaction has its commands."""
    commands: dict[Place, list[CommandRow]] = {}
    for each in records:
        assert each.key is not None
        assert each.value is not None
        commands.setdefault((each.topic, each.partition), []).append((each.key, each.value, each.headers))
    return commands
