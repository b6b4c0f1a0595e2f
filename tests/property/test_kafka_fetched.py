"""What engines read of a fetch is what aiokafka's own way reads of it, at the same positions."""

import struct
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.adapters.kafka import fetched
from tests.support.strategies import heavy

PLACE = TopicPartition("events", 3)
_ABORT, _COMMIT = 0, 1
_CONTROL_BIT = 0x20
_CRC_AT, _ATTRIBUTES_AT = 17, 21


@dataclass
class Partition:
    """A part of a log, as a broker sends it."""

    end: int = 0
    batches: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    """Each with the offset behind it."""
    open: dict[int, int] = field(default_factory=dict[int, int])
    """First offsets of transactions that go on, by their producers."""
    aborted: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def append(self, count: int, codec: int, producer: int | None) -> None:
        batch = BatchBuilder(100_000, codec, is_transactional=producer is not None)
        for number in range(count):
            at = self.end + number
            headers = [("h", b"%d" % at)] if at % 3 else []
            batch.append(timestamp=at, key=b"key" if at % 2 else None, value=b"%d" % at * 20, headers=headers)
        if producer is not None:
            batch._set_producer_state(producer, 0, 0)
            self.open.setdefault(producer, self.end)
        self._put(bytearray(batch._build()), count)

    def end_transaction(self, producer: int, how: int) -> None:
        first = self.open.pop(producer, None)
        if first is None:
            return
        if how == _ABORT:
            self.aborted.append((producer, first))
        marker = BatchBuilder(1000, 0, is_transactional=True)
        marker.append(timestamp=1, key=struct.pack(">hh", 0, how), value=bytes(6), headers=[])
        marker._set_producer_state(producer, 0, -1)
        data = bytearray(marker._build())
        (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES_AT)
        struct.pack_into(">h", data, _ATTRIBUTES_AT, attributes | _CONTROL_BIT)
        struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
        self._put(data, 1)

    def _put(self, data: bytearray, count: int) -> None:
        struct.pack_into(">q", data, 0, self.end)
        self.end += count
        self.batches.append((self.end, bytes(data)))

    def since(self, offset: int) -> bytes:
        """What a fetch from there brings: whole batches."""
        return b"".join(data for end, data in self.batches if end > offset)


@st.composite
def partitions(draw: st.DrawFn) -> Partition:
    partition = Partition()
    for _ in range(draw(st.integers(1, 8))):
        producer = draw(st.sampled_from([None, 1, 2]))
        how = draw(st.sampled_from([None, _ABORT, _COMMIT]))
        partition.append(draw(st.integers(1, 5)), draw(st.sampled_from(_CODECS)), producer)
        if producer is not None and how is not None:
            partition.end_transaction(producer, how)
        partition.end += draw(st.sampled_from([0, 0, 3]))  # compaction leaves holes
    return partition


_CODECS = [DefaultRecordBatch.CODEC_NONE, DefaultRecordBatch.CODEC_ZSTD, DefaultRecordBatch.CODEC_GZIP]


class State:
    """A partition as a consumer knows it."""

    paused = False
    active = True

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, _: TopicPartition) -> "State":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


class LeanRecords(PartitionRecords):
    _unpack_records = fetched._unpack


class LeanResult(FetchResult):
    getall = fetched._take


def read(
    partition: Partition, start: int, counts: list[int | None], records_type: Any, result_type: Any
) -> list[tuple[int, list[tuple[object, ...]]]]:
    """After each look the position, and the records."""
    state = State(start)
    records = MemoryRecords(partition.since(start))
    unpacked = records_type(PLACE, records, partition.aborted, start, None, None, True, READ_COMMITTED)
    result = result_type(PLACE, assignment=state, partition_records=unpacked, backoff=0)
    looks: list[tuple[int, list[tuple[object, ...]]]] = []
    while result.has_more():
        taken = result.getall(counts[len(looks) % len(counts)])
        rows = [(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in taken]
        looks.append((state.position, rows))
    return looks


def read_whole(partition: Partition, start: int, count_max: int) -> tuple[int, list[tuple[object, ...]]]:
    """As a source does it: the position once everything has come, and the records as they are taken."""
    state = State(start)
    records = MemoryRecords(partition.since(start))
    unpacked = LeanRecords(PLACE, records, partition.aborted, start, None, None, True, READ_COMMITTED)
    result = LeanResult(PLACE, assignment=state, partition_records=unpacked, backoff=0)
    fetch = fetched.as_fetch(result.getall(fetched.WHOLE))
    assert not result.has_more()
    rows: list[tuple[object, ...]] = []
    while fetch.count:
        left = fetch.count
        taken = fetch.take(count_max)
        assert len(taken) <= left
        rows += [(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in taken]
    assert fetch.take(count_max) == []
    return state.position, rows


@heavy
@given(st.data(), partitions(), st.integers(1, 6))
def test_a_whole_fetch_is_what_aiokafka_reads(data: st.DataObject, partition: Partition, count_max: int) -> None:
    start = data.draw(st.integers(0, partition.end - 1))
    usual = read(partition, start, [None], PartitionRecords, FetchResult)
    assert [read_whole(partition, start, count_max)] == usual


@heavy
@given(st.data(), partitions(), st.lists(st.none() | st.integers(1, 6), min_size=1, max_size=4))
def test_what_is_read_is_what_aiokafka_reads(
    data: st.DataObject, partition: Partition, counts: list[int | None]
) -> None:
    assert FetchResult.getall.__module__.startswith("aiokafka"), "its own way is what this compares with"
    start = data.draw(st.integers(0, partition.end - 1))
    usual = read(partition, start, counts, PartitionRecords, FetchResult)
    assert read(partition, start, counts, LeanRecords, LeanResult) == usual
