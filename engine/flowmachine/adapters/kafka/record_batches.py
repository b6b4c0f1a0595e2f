"""Output records as aiokafka's record batches: what one produce request takes, built at once.

The changelog is compressed (`docs/decisions/0019-compressed-changelog.md`), and nothing else: clients of services have
to read commands, and not all of them know zstd.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import InvariantError
from flowmachine.wire.log import OutputRecord

BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""

CountPartitions = Callable[[str], Awaitable[int]]
"""How many partitions a topic has."""

_place = attrgetter("topic", "partition")


def create_changelog_batch(*, is_transactional: bool) -> BatchBuilder:
    """An empty record batch of the changelog. A producer of aiokafka compresses all that it sends, or nothing."""
    return BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_ZSTD, is_transactional=is_transactional)


_create_in_transaction = partial(create_changelog_batch, is_transactional=True)


async def build_batches(
    producer: AIOKafkaProducer, records: Sequence[OutputRecord], changelog: str, count_partitions: CountPartitions
) -> dict[tuple[str, int], list[BatchBuilder]]:
    """Record batches by topic and partition, in the order of `records`. Raises InvariantError if one is too large."""
    batches: dict[tuple[str, int], list[BatchBuilder]] = {}
    # Neighbours mostly have their place in common: what is the same for all of them is done once.
    for (topic, partition), run in groupby(records, key=_place):
        create = _create_in_transaction if topic == changelog else producer.create_batch
        if partition is not None:
            _append(create, batches, (topic, partition), run)
            continue
        count = await count_partitions(topic)
        for record in run:
            _append(create, batches, (topic, java_murmur2(record.key or b"", count)), (record,))
    for builders in batches.values():
        builders[-1].close()
    return batches


def _append(
    create: Callable[[], BatchBuilder],
    batches: dict[tuple[str, int], list[BatchBuilder]],
    place: tuple[str, int],
    records: Iterable[OutputRecord],
) -> None:
    builders = batches.get(place)
    if builders is None:
        builders = batches[place] = [create()]
    append = builders[-1].append
    for record in records:
        headers = list(record.headers) if record.headers else []
        if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
            builders.append(create())
            append = builders[-1].append
            if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
                raise InvariantError(f"a record for {place[0]!r} fits no batch")
