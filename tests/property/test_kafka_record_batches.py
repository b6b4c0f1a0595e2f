"""The record batches that engines write are, byte for byte, those that aiokafka would write of the same records."""

import asyncio
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.adapters.kafka.record_batches import BATCH_BYTES, build_batches, build_changelog
from flowmachine.wire.log import OutputRecord
from tests.support.strategies import heavy

headers: st.SearchStrategy[Any] = st.lists(
    st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=200)), max_size=3
).map(tuple)
sizes = st.sampled_from([0, 1, 50, 63, 64, 300, 8_191, 8_192, 70_000])
values = st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255))
records = st.builds(
    OutputRecord,
    st.just("topic"),
    st.none() | st.binary(max_size=100),
    st.none() | values,
    st.just(0),
    headers,
    st.integers(-5, 2**41).filter(lambda at_ms: at_ms != -1),  # aiokafka's builder takes -1 for none so far
)


async def count(_: str) -> int:
    raise AssertionError("every record names its partition")


@heavy
@given(st.lists(records, min_size=1, max_size=12), st.booleans())
def test_batches_are_those_of_aiokafka(written: list[OutputRecord], is_transactional: bool) -> None:
    usual = BatchBuilder(BATCH_BYTES, 0, is_transactional=is_transactional)
    for each in written:
        usual.append(timestamp=each.timestamp, key=each.key, value=each.value, headers=list(each.headers))
    batches = asyncio.run(build_batches(written, {}, count, is_transactional=is_transactional))
    ((ours,),) = batches.values()
    for batch in (usual, ours):
        batch._set_producer_state(4711, 3, 17)
    assert bytes(ours._build()) == bytes(usual._build())
    assert (ours.record_count(), ours.size()) == (usual.record_count(), usual.size())


@heavy
@given(st.dictionaries(st.binary(max_size=40), st.none() | values, min_size=1, max_size=20))
def test_the_changelog_is_read_as_it_was_written(sagas: dict[bytes, bytes | None]) -> None:
    (batch,) = build_changelog(sagas, is_transactional=True)
    read = MemoryRecords(bytes(batch._build()))
    fetched = read.next_batch()
    assert fetched is not None
    assert fetched.validate_crc()
    rows = [(record.offset, record.key, record.value) for record in fetched]
    assert rows == [(at, key, value) for at, (key, value) in enumerate(sagas.items())]
    assert fetched.next_offset == len(sagas)
