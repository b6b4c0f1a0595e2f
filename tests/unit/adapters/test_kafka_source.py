"""What engines read of a fetched record, made with less than aiokafka's own records have."""

import subprocess
import sys

_PROGRAM = """
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from flowmachine.adapters.kafka import read_lean_records

batch = BatchBuilder(1000, 0)
batch.append(timestamp=7, key=b"saga", value=b"event", headers=[("h", b"v")])
batch.append(timestamp=8, key=None, value=None)

def read():
    records = MemoryRecords(bytes(batch._build()))
    place = TopicPartition("events", 3)
    for record in PartitionRecords(place, records, [], 0, None, None, True, READ_COMMITTED):
        where = record.topic, record.partition, record.offset
        yield *where, record.timestamp, record.key, record.value, record.headers

usual = list(read())
read_lean_records()
lean = list(read())
assert lean == usual, (lean, usual)
print(len(lean))
"""


def test_lean_records_say_the_same() -> None:
    # In a process of its own, as it is for the whole process.
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (0, "2\n"), run.stderr
