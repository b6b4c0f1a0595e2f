"""A process that asks for it reads lean records; `tests/property/test_kafka_fetched.py` says that they say the same."""

import subprocess
import sys
import weakref
from typing import Any
from unittest.mock import Mock

from flowmachine.adapters.kafka.fetched import WholeFetch, as_fetch

_PROGRAM = """
from unittest.mock import Mock
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from flowmachine.adapters.kafka import read_lean_records
from flowmachine.wire.log import StoredRecord

batch = BatchBuilder(1000, 0)
batch.append(timestamp=7, key=b"saga", value=b"event", headers=[("h", b"v")])
batch.append(timestamp=8, key=None, value=None)
read_lean_records()
place = TopicPartition("events", 3)
records = PartitionRecords(place, MemoryRecords(bytes(batch._build())), [], 0, None, None, True, READ_COMMITTED)
assignment = Mock()
assignment.state_value.return_value = Mock(paused=False, position=0)
result = FetchResult(place, assignment=assignment, partition_records=records, backoff=0)
assert result.getall(5) == [
    StoredRecord("events", 3, 0, 7, b"saga", b"event", [("h", b"v")]),
    StoredRecord("events", 3, 1, 8, None, None, []),
]
assert not result.has_more()
"""


def test_records_are_ours() -> None:
    # In a process of its own, as it is for the whole process.
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


class Batch(list[Any]):
    """As aiokafka's, which holds its records unpacked once it has been read."""

    base_offset, next_offset = 0, 2


def test_what_has_been_read_of_a_fetch_is_released() -> None:
    record = Mock(offset=0, headers=[])
    batches = [Batch([record, record]) for _ in range(3)]
    alive = [weakref.ref(batch) for batch in batches]
    fetch = as_fetch(WholeFetch(("events", 3), batches, 0, 1000))
    batches.clear()
    assert (fetch.count, fetch.size) == (6, 1000)
    for taken, left in ((1, 3), (1, 3), (1, 2), (2, 1)):
        fetch.take(taken)
        assert sum(batch() is not None for batch in alive) == left
    assert (fetch.count, fetch.size) == (1, 166)


def test_a_fetch_that_is_dropped_is_gone_at_once() -> None:
    # Megabytes each: they must not wait for the garbage collector.
    record = Mock(offset=0, headers=[])
    for taken in (0, 1, 2, 3, 4, 5):
        batches = [Batch([record, record]) for _ in range(2)]
        alive = [weakref.ref(batch) for batch in batches]
        fetch = as_fetch(WholeFetch(("events", 3), batches, 0, 1000))
        batches.clear()
        fetch.take(taken)
        del fetch
        assert not any(batch() for batch in alive)
