"""Output records as aiokafka's record batches: what one produce request takes, built at once.

The changelog is compressed (`docs/decisions/0019-compressed-changelog.md`), and nothing else: clients of services have
to read commands, and not all of them know zstd.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from zstandard import ZstdCompressor

from flowmachine.core.partitioners import java_murmur2
from flowmachine.wire.log import CommandRecords, Headers, OutputRecord, SagaRecords

BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""

CountPartitions = Callable[[str], Awaitable[int]]
"""How many partitions a topic has."""

_builder: Any = sys.modules[DefaultRecordBatchBuilder.__module__]
_builder.zstd_encode = ZstdCompressor(level=1).compress
"""aiokafka asks for level 3, and has no option: that takes half as long again, and makes these records no smaller.

This compressor keeps its working memory, which aiokafka's way has the kernel clear anew for every batch. It is for one
thread at a time, that of the event loop."""

_place = attrgetter("topic", "partition", "timestamp")
_as_row: Callable[[OutputRecord], "_Row"] = attrgetter("key", "value", "headers")
_Row = tuple[bytes | None, bytes | None, Headers]
"""Key, value, headers."""
_NO_HEADERS: list[tuple[str, bytes]] = []


async def build_batches(
    records: Sequence[OutputRecord],
    commands: CommandRecords,
    count_partitions: CountPartitions,
    *,
    is_transactional: bool,
) -> dict[tuple[str, int], list[BatchBuilder]]:
    """Record batches by topic and partition, in the order of the records."""
    batches: dict[tuple[str, int], list[BatchBuilder]] = {}
    create = partial(BatchBuilder, BATCH_BYTES, DefaultRecordBatch.CODEC_NONE, is_transactional=is_transactional)
    # Commands have their place in common, and neighbours mostly do: what is the same for all is done once.
    runs: Iterator[tuple[tuple[str, int | None, int | None], Iterator[_Row]]] = chain(
        ((place, map(_as_row, run)) for place, run in groupby(records, key=_place)),
        (((*place, None), iter(rows)) for place, rows in commands.items() if rows),
    )
    for (topic, partition, timestamp), rows in runs:
        if partition is not None:
            _extend(batches.setdefault((topic, partition), []), rows, create, timestamp)
            continue
        count = await count_partitions(topic)
        for row in rows:
            place = topic, java_murmur2(row[0] or b"", count)
            _extend(batches.setdefault(place, []), iter((row,)), create, timestamp)
    for builders in batches.values():
        builders[-1].close()
    return batches


def build_changelog(sagas: SagaRecords, *, is_transactional: bool) -> list[BatchBuilder]:
    """Record batches of a home partition's changelog, compressed. aiokafka's producers compress all or nothing."""
    batches: list[BatchBuilder] = []
    create = partial(BatchBuilder, BATCH_BYTES, DefaultRecordBatch.CODEC_ZSTD, is_transactional=is_transactional)
    _extend(batches, zip(sagas, sagas.values(), repeat(())), create)
    batches[-1].close()
    return batches


def _extend(
    batches: list[BatchBuilder], rows: Iterator[_Row], create: Callable[[], BatchBuilder], timestamp: int | None = None
) -> None:
    """Add rows of one time (None: now) to the last batch, and to as many new ones as they need."""
    if not batches:
        batches.append(create())
    while (left := _fill(batches[-1], rows, timestamp)) is not None:
        batches.append(create())
        _fill(batches[-1], iter((left,)), timestamp)


def _fill(batch: BatchBuilder, rows: Iterator[_Row], timestamp: int | None) -> _Row | None:
    """Add rows until one finds no room; that one is returned, and is not among those that are left.

    One by one, through `BatchBuilder.append`, costs twice as much. An empty batch takes a record of any size.
    """
    inner: Any = batch  # what it wraps has no public name
    append, offset = inner._builder.append, inner._relative_offset  # noqa: SLF001
    left: _Row | None = None
    for key, value, headers in rows:
        if append(offset, timestamp, key, value, list(headers) if headers else _NO_HEADERS) is None:
            batch.close()
            left = key, value, headers
            break
        offset += 1
    inner._relative_offset = offset  # noqa: SLF001
    return left
