"""The broker as the benchmark uses it: topics, appended records, committed offsets."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.errors import RoundFailedError
from bench.processes import Program, cpu_seconds, log_tail
from bench.workload import PARTITIONS

POLL_SECONDS = 0.1
COMPACTED = {"cleanup.policy": "compact"}
_TOPIC_SECONDS_MAX = 30.0
_BATCH_RECORDS = 1000
_BATCH_BYTES = 1_040_000
_UNANSWERED_MAX = 8
"""Appended batches that wait for the broker; enough to keep it busy, few enough not to fill memory."""

Records = Iterable[tuple[bytes, bytes]]
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Sample:
    """How far a program was at a moment, and what the processes had used by then."""

    seconds: float
    records: int
    cpu_seconds: Mapping[str, float]


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncGenerator[AIOKafkaAdminClient]:
    """An admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_topics(bootstrap: str, *names: str, configs: Mapping[str, str] | None = None) -> None:
    """Create topics and wait until every partition has a leader. Raises RoundFailedError."""
    async with admin_client(bootstrap) as admin:
        await admin.create_topics([NewTopic(name, PARTITIONS, 1, topic_configs=dict(configs or {})) for name in names])
        deadline = time.monotonic() + _TOPIC_SECONDS_MAX
        while not _are_led(await admin.describe_topics(list(names))):
            if time.monotonic() > deadline:
                raise RoundFailedError(f"topics {', '.join(names)} have no leader after {_TOPIC_SECONDS_MAX:.0f} s")
            await asyncio.sleep(POLL_SECONDS)


def _are_led(described: Iterable[Mapping[str, object]]) -> bool:
    for topic in described:
        partitions = topic["partitions"]
        assert isinstance(partitions, list)
        if len(partitions) != PARTITIONS or any(one["leader"] < 0 or one["error_code"] for one in partitions):
            return False
    return True


async def delete_topics(bootstrap: str, *names: str) -> None:
    """Give the disk back what a round wrote; the broker does so a minute later."""
    async with admin_client(bootstrap) as admin:
        await admin.delete_topics(list(names))


async def append(bootstrap: str, topic: str, lanes: Sequence[Records], *, headers: Headers = ()) -> None:
    """Append records to the partitions 0, 1, … of a topic, each in order."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_batch_size=_BATCH_BYTES, max_request_size=_BATCH_BYTES
    )
    await producer.start()
    try:
        await asyncio.gather(
            *(_append_lane(producer, TopicPartition(topic, p), lane, list(headers)) for p, lane in enumerate(lanes))
        )
    finally:
        await producer.stop()


async def _append_lane(
    producer: AIOKafkaProducer, to: TopicPartition, records: Records, headers: list[tuple[str, bytes]]
) -> None:
    unanswered: list[asyncio.Future[object]] = []
    batch = producer.create_batch()
    for key, value in records:
        is_full = batch.record_count() == _BATCH_RECORDS
        if is_full or batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            unanswered.append(await producer.send_batch(batch, to.topic, partition=to.partition))
            if len(unanswered) > _UNANSWERED_MAX:
                await unanswered.pop(0)
            batch = producer.create_batch()
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    if batch.record_count():
        unanswered.append(await producer.send_batch(batch, to.topic, partition=to.partition))
    await asyncio.gather(*unanswered)


async def follow(
    bootstrap: str,
    *,
    group: str,
    topic: str,
    records: int,
    processes: Mapping[str, int],
    program: Program,
    timeout_seconds: float,
) -> list[Sample]:
    """Watch a group's committed offsets until all `records` are done. Raises RoundFailedError.

    `processes`: ids by name; what they use is noted with every sample.
    """
    partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    samples: list[Sample] = []
    async with admin_client(bootstrap) as admin:
        coordinator = await admin.find_coordinator(group)
        started = time.monotonic()
        due = started
        while not samples or samples[-1].records < records:
            if not program.is_running:
                raise RoundFailedError(f"the program under test ended within a round:\n{log_tail(program.log_path)}")
            committed = await admin.list_consumer_group_offsets(group, coordinator, partitions)
            now = time.monotonic()
            done = sum(max(found.offset, 0) for found in committed.values())
            used = {name: cpu_seconds(pid) for name, pid in processes.items()}
            samples.append(Sample(now - started, done, used))
            if now - started > timeout_seconds:
                raise RoundFailedError(f"{done:,} of {records:,} records after {timeout_seconds:.0f} s")
            due = max(due + POLL_SECONDS, now)
            await asyncio.sleep(due - now)
    return samples
