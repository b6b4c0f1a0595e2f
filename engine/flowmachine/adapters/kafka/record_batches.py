"""Output records as aiokafka's record batches: what one produce request takes, built at once."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from aiokafka import AIOKafkaProducer

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import InvariantError
from flowmachine.wire.log import OutputRecord

BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""

CountPartitions = Callable[[str], Awaitable[int]]
"""How many partitions a topic has."""

_place = attrgetter("topic", "partition")


async def build_batches(
    producer: AIOKafkaProducer, records: Sequence[OutputRecord], count_partitions: CountPartitions
) -> dict[tuple[str, int], list[Any]]:
    """Record batches by topic and partition, in the order of `records`. Raises InvariantError if one is too large."""
    batches: dict[tuple[str, int], list[Any]] = {}
    # Neighbours mostly have their place in common: what is the same for all of them is done once.
    for (topic, partition), run in groupby(records, key=_place):
        if partition is not None:
            _append(producer, batches, (topic, partition), run)
            continue
        count = await count_partitions(topic)
        for record in run:
            _append(producer, batches, (topic, java_murmur2(record.key or b"", count)), (record,))
    for builders in batches.values():
        builders[-1].close()
    return batches


def _append(
    producer: AIOKafkaProducer,
    batches: dict[tuple[str, int], list[Any]],
    place: tuple[str, int],
    records: Iterable[OutputRecord],
) -> None:
    builders = batches.get(place)
    if builders is None:
        builders = batches[place] = [producer.create_batch()]
    append = builders[-1].append
    for record in records:
        headers = list(record.headers) if record.headers else []
        if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
            builders.append(producer.create_batch())
            append = builders[-1].append
            if append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is None:
                raise InvariantError(f"a record for {place[0]!r} fits no batch")
