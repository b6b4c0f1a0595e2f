"""How the loads watch a topic: one consumer per partition, from its end on.

A consumer of several partitions holds back one that has data while it waits for the others, and that would be measured.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.bare import FETCH_BYTES

Take = Callable[[int, Sequence[Any]], Awaitable[None]]
"""What is done with the records that a fetch of a partition has brought."""


async def open_watched(bootstrap: str, topic: str, partition: int) -> AIOKafkaConsumer:
    """A `read_committed` consumer of one partition; what is written from now on is read."""
    topic_partition = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        retry_backoff_ms=10,
        fetch_max_wait_ms=500,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    consumer.assign([topic_partition])
    await consumer.seek_to_end(topic_partition)
    await consumer.position(topic_partition)
    return consumer


async def watch(consumer: AIOKafkaConsumer, take: Take) -> None:
    """Until cancelled."""
    try:
        while True:
            for topic_partition, records in (await consumer.getmany(timeout_ms=10_000)).items():
                await take(topic_partition.partition, records)
    finally:
        await consumer.stop()
