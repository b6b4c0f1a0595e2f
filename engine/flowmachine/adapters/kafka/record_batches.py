"""Output records as Kafka's record batches, version 2 (https://kafka.apache.org/documentation/#recordbatch).

aiokafka's own builder takes records one by one, and copies and compresses a megabyte of them when it is sent and has
long left the processor's cache. Here some dozens at a time are encoded and compressed, and a compressed batch holds
what fits once it is compressed, so a transaction mostly needs one.

The changelog is compressed (`docs/decisions/0019-compressed-changelog.md`), and nothing else: clients of services have
to read commands, and not all of them know zstd.
"""

import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice, repeat
from operator import attrgetter
from typing import Any, Final

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBase
from aiokafka.record.util import calc_crc32c, encode_varint
from zstandard import ZstdCompressionParameters, ZstdCompressor

from flowmachine.core.partitioners import java_murmur2
from flowmachine.wire.log import CommandRecords, Headers, OutputRecord, SagaRecords

BATCH_BYTES = 1_040_000
"""Largest record batch: just below the brokers' default `message.max.bytes` (1,048,588)."""
UNPACKED_BYTES = 8 * 1024 * 1024
"""Most that a compressed batch holds: readers have it in memory at once."""
_HEADER: Final = DefaultRecordBase.HEADER_STRUCT
_CHECKSUM: Final = struct.Struct(">I")
_NO_LEADER, _MAGIC = -1, 2
_KEPT_VARINTS: Final = 16_384
_STRETCH: Final = 64
"""Records that are encoded and compressed at once: mostly so few bytes that they stay in the processor's cache."""
_HELD_BACK_BYTES: Final = 256 * 1024
"""More than the compressor keeps to itself before it gives out what it has made of it."""

CountPartitions = Callable[[str], Awaitable[int]]
"""How many partitions a topic has."""

_compressor = ZstdCompressor(compression_params=ZstdCompressionParameters.from_level(1, window_log=17))
"""Keeps its working memory from batch to batch, so for one batch at a time.

A higher level makes sagas no smaller, and a window of 128 KB makes them no larger and takes two thirds of the time.
"""
_Row = tuple[bytes | None, bytes | None, Headers]
"""Key, value, headers."""
_place = attrgetter("topic", "partition", "timestamp")
_as_row: Callable[[OutputRecord], _Row] = attrgetter("key", "value", "headers")


async def build_batches(
    records: Sequence[OutputRecord],
    commands: CommandRecords,
    count_partitions: CountPartitions,
    *,
    is_transactional: bool,
) -> dict[tuple[str, int], list[BatchBuilder]]:
    """Record batches by topic and partition, in the order of the records."""
    now_ms = _now_ms()
    writers: dict[tuple[str, int], _Writer] = {}
    # Commands have their place in common, and neighbours mostly do: what is the same for all is done once.
    runs: Iterator[tuple[tuple[str, int | None, int | None], Iterable[_Row]]] = chain(
        ((place, map(_as_row, run)) for place, run in groupby(records, key=_place)),
        (((*place, None), rows) for place, rows in commands.items() if rows),
    )
    for (topic, partition, timestamp), rows in runs:
        at_ms = now_ms if timestamp is None else timestamp
        if partition is not None:
            _writer_of(writers, (topic, partition), is_transactional=is_transactional).write(rows, at_ms)
            continue
        by_partition: dict[int, list[_Row]] = {}
        count = await count_partitions(topic)
        for row in rows:
            by_partition.setdefault(java_murmur2(row[0] or b"", count), []).append(row)
        for number, its_rows in by_partition.items():
            _writer_of(writers, (topic, number), is_transactional=is_transactional).write(its_rows, at_ms)
    return {place: writer.finish() for place, writer in writers.items()}


def build_changelog(sagas: SagaRecords, *, is_transactional: bool) -> list[BatchBuilder]:
    """Record batches of a home partition's changelog, compressed."""
    writer = _Writer(is_transactional=is_transactional, is_compressed=True)
    writer.write(zip(sagas, sagas.values(), repeat(())), _now_ms())
    return writer.finish()


class RecordBatch(BatchBuilder):
    """A record batch for aiokafka's producers: complete, but for the producer that sends it."""

    def __init__(self, pieces: Sequence[bytes], count: int, attributes: int, first_ms: int, latest_ms: int) -> None:
        """`pieces` of the records, as they are sent."""
        self._pieces = pieces
        self._relative_offset = count
        self._fields = attributes, count - 1, first_ms, latest_ms
        self._producer = -1, -1, -1
        self._buffer = None
        self._closed = True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = producer_id, producer_epoch, base_sequence

    def size(self) -> int:
        return _HEADER.size + sum(map(len, self._pieces))

    def _build(self) -> bytearray:
        if self._buffer is None:
            length = self.size() - DefaultRecordBase.AFTER_LEN_OFFSET
            count = self._relative_offset
            header = _HEADER.pack(0, length, _NO_LEADER, _MAGIC, 0, *self._fields, *self._producer, count)
            self._buffer = bytearray().join((header, *self._pieces))
            checked: Any = memoryview(self._buffer)[DefaultRecordBase.ATTRIBUTES_OFFSET :]
            _CHECKSUM.pack_into(self._buffer, DefaultRecordBase.CRC_OFFSET, calc_crc32c(checked))
        return self._buffer


class _Writer:
    """Writes the records of one partition into as many batches as they need."""

    def __init__(self, *, is_transactional: bool, is_compressed: bool = False) -> None:
        self._attributes = DefaultRecordBase.TRANSACTIONAL_MASK if is_transactional else 0
        self._is_compressed = is_compressed
        if is_compressed:
            self._attributes |= DefaultRecordBase.CODEC_ZSTD
        self._batches: list[BatchBuilder] = []
        self._begin()

    def _begin(self) -> None:
        self._stream = _compressor.compressobj() if self._is_compressed else None
        self._pieces: list[bytes] = []
        self._size = self._unpacked = self._count = self._first_ms = self._latest_ms = 0

    def write(self, rows: Iterable[_Row], at_ms: int) -> None:
        """Add records of one time."""
        unwritten = iter(rows)
        while stretch := list(islice(unwritten, _STRETCH)):
            self._write(stretch, at_ms)

    def _write(self, rows: Sequence[_Row], at_ms: int) -> None:
        data = self._encode(rows, at_ms)
        if not self._has_room(len(data)):
            if len(rows) > 1:  # as many as there is room for, then the others
                middle = len(rows) // 2
                self._write(rows[:middle], at_ms)
                self._write(rows[middle:], at_ms)
                return
            if self._count:  # an empty batch takes a record of any size
                self._end()
                data = self._encode(rows, at_ms)
        self._add(data, len(rows), at_ms)

    def finish(self) -> list[BatchBuilder]:
        """The batches."""
        self._end()
        return self._batches

    def _encode(self, rows: Sequence[_Row], at_ms: int) -> bytes:
        """Offsets and times count from the batch's first."""
        return _encode(rows, self._count, at_ms - self._first_ms if self._count else 0)

    def _has_room(self, size: int) -> bool:
        """Whether so much more fits, however badly it compresses."""
        held_back = _HELD_BACK_BYTES if self._is_compressed else _HEADER.size
        return self._size + held_back + size <= BATCH_BYTES and self._unpacked + size <= UNPACKED_BYTES

    def _add(self, data: bytes, count: int, at_ms: int) -> None:
        piece = data if self._stream is None else self._stream.compress(data)
        self._pieces.append(piece)
        self._size += len(piece)
        self._unpacked += len(data)
        self._first_ms = self._first_ms if self._count else at_ms
        self._latest_ms = max(self._latest_ms, at_ms) if self._count else at_ms
        self._count += count

    def _end(self) -> None:
        if self._stream is not None:
            self._pieces.append(self._stream.flush())
        self._batches.append(RecordBatch(self._pieces, self._count, self._attributes, self._first_ms, self._latest_ms))
        self._begin()


def _writer_of(writers: dict[tuple[str, int], _Writer], place: tuple[str, int], *, is_transactional: bool) -> _Writer:
    writer = writers.get(place)
    if writer is None:
        writer = writers[place] = _Writer(is_transactional=is_transactional)
    return writer


def _encode(rows: Sequence[_Row], offset: int, delta_ms: int) -> bytes:
    """Records of one time as they stand in a batch, the first at `offset` in it."""
    parts: list[bytes] = []
    varints = _varints
    start = _NO_ATTRIBUTES + varints[delta_ms]
    key_length, key_size, known = -1, _NULL, 0  # keys are mostly of one length
    for at, (key, value, headers) in enumerate(rows, offset):
        place = varints[at]
        if key is None or value is None or headers:
            parts += _encode_unusual(start + place, key, value, headers)
            continue
        if len(key) != key_length:
            key_length = len(key)
            key_size = varints[key_length]
            known = len(start) + len(key_size) + key_length + len(_NO_HEADERS)
        length = len(value)
        value_size = varints[length]
        size = varints[known + len(place) + len(value_size) + length]
        parts += (size, start, place, key_size, key, value_size, value, _NO_HEADERS)
    return b"".join(parts)


def _encode_unusual(start: bytes, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bytes, ...]:
    key_parts = (_varints[len(key)], key) if key is not None else (_NULL,)
    value_parts = (_varints[len(value)], value) if value is not None else (_NULL,)
    parts = (start, *key_parts, *value_parts, _encode_headers(headers))
    return _varints[sum(map(len, parts))], *parts


def _encode_headers(headers: Headers) -> bytes:
    parts = [_varints[len(headers)]]
    for name, value in headers:
        text = name.encode()
        content: Any = value  # clients may write headers without one, and aiokafka gives out None
        parts += (_varints[len(text)], text)
        parts += (_varints[len(content)], content) if content is not None else (_NULL,)
    return b"".join(parts)


class _Varints(dict[int, bytes]):
    """Kafka's integers of variable length; small ones are made once."""

    def __missing__(self, number: int) -> bytes:
        encoded = bytearray()
        encode_varint(number, encoded.append)
        if 0 <= number < _KEPT_VARINTS:
            self[number] = bytes(encoded)
        return bytes(encoded)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_varints: Final = _Varints()
_NULL: Final = _varints[-1]
"""Instead of a size."""
_NO_ATTRIBUTES: Final = b"\0"
_NO_HEADERS: Final = _varints[0]
