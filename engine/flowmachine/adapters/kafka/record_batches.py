"""Output records as aiokafka's record batches: what one produce request takes, built at once.

The changelog is compressed (`docs/decisions/0019-compressed-changelog.md`), and nothing else: clients of services have
to read commands, and not all of them know zstd.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from flowmachine.core.partitioners import java_murmur2
from flowmachine.wire.log import OutputRecord

BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""

CountPartitions = Callable[[str], Awaitable[int]]
"""How many partitions a topic has."""

_builder: Any = sys.modules[DefaultRecordBatchBuilder.__module__]
_builder.zstd_encode = partial(zstd_encode, level=1)
"""aiokafka asks for level 3, and has no option: that takes half as long again, and makes these records no smaller."""

_place = attrgetter("topic", "partition")
_NO_HEADERS: list[tuple[str, bytes]] = []


def create_batch(*, is_changelog: bool, is_transactional: bool) -> BatchBuilder:
    """An empty record batch, compressed if it is the changelog's. aiokafka's producers compress all or nothing."""
    codec = DefaultRecordBatch.CODEC_ZSTD if is_changelog else DefaultRecordBatch.CODEC_NONE
    return BatchBuilder(BATCH_BYTES, codec, is_transactional=is_transactional)


def extend_batch(batch: BatchBuilder, records: Iterator[OutputRecord]) -> OutputRecord | None:
    """Add records until one finds no room; that one is returned, and is not among those that are left.

    One by one, through `BatchBuilder.append`, costs twice as much. An empty batch takes a record of any size.
    """
    inner: Any = batch  # what it wraps has no public name
    append, offset = inner._builder.append, inner._relative_offset  # noqa: SLF001
    left: OutputRecord | None = None
    for record in records:
        headers = list(record.headers) if record.headers else _NO_HEADERS
        if append(offset, record.timestamp, record.key, record.value, headers) is None:
            batch.close()
            left = record
            break
        offset += 1
    inner._relative_offset = offset  # noqa: SLF001
    return left


async def build_batches(
    records: Sequence[OutputRecord], changelog: str, count_partitions: CountPartitions, *, is_transactional: bool
) -> dict[tuple[str, int], list[BatchBuilder]]:
    """Record batches by topic and partition, in the order of `records`."""
    batches: dict[tuple[str, int], list[BatchBuilder]] = {}
    # Neighbours mostly have their place in common: what is the same for all of them is done once.
    for (topic, partition), run in groupby(records, key=_place):
        create = partial(create_batch, is_changelog=topic == changelog, is_transactional=is_transactional)
        if partition is not None:
            _extend(batches.setdefault((topic, partition), []), run, create)
            continue
        count = await count_partitions(topic)
        for record in run:
            place = topic, java_murmur2(record.key or b"", count)
            _extend(batches.setdefault(place, []), iter((record,)), create)
    for builders in batches.values():
        builders[-1].close()
    return batches


def _extend(batches: list[BatchBuilder], records: Iterator[OutputRecord], create: Callable[[], BatchBuilder]) -> None:
    """Add records to the last batch, and to as many new ones as they need."""
    if not batches:
        batches.append(create())
    while (left := extend_batch(batches[-1], records)) is not None:
        batches.append(create())
        extend_batch(batches[-1], iter((left,)))
