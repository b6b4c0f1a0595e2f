"""The broker as the benchmark uses it: topics, appended records, committed offsets."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
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
_TRANSACTION_TIMEOUT_MS = 600_000
_UNANSWERED_MAX = 8
"""Appended batches that wait for the broker; enough to keep it busy, few enough not to fill memory."""

Records = Iterable[tuple[bytes, bytes]]
Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Sample:
    """How far the programs were at a moment, and what they and the broker had used by then."""

    seconds: float
    """By the monotonic clock."""
    records: int
    cpu_seconds: float
    broker_cpu_seconds: float


@asynccontextmanager
async def admin_client(bootstrap: str) -> AsyncGenerator[AIOKafkaAdminClient]:
    """An admin client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_topics(
    bootstrap: str, *names: str, configs: Mapping[str, str] | None = None, partitions: int = PARTITIONS
) -> None:
    """Create topics and wait until every partition has a leader. Raises RoundFailedError."""
    async with admin_client(bootstrap) as admin:
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs or {})) for name in names])
        deadline = time.monotonic() + _TOPIC_SECONDS_MAX
        while not _are_led(await admin.describe_topics(list(names)), partitions):
            if time.monotonic() > deadline:
                raise RoundFailedError(f"topics {', '.join(names)} have no leader after {_TOPIC_SECONDS_MAX:.0f} s")
            await asyncio.sleep(POLL_SECONDS)


def _are_led(described: Iterable[Mapping[str, object]], count: int) -> bool:
    for topic in described:
        partitions = topic["partitions"]
        assert isinstance(partitions, list)
        if len(partitions) != count or any(one["leader"] < 0 or one["error_code"] for one in partitions):
            return False
    return True


async def delete_topics(bootstrap: str, *names: str) -> None:
    """Give the disk back what a round wrote; the broker does so a minute later."""
    async with admin_client(bootstrap) as admin:
        await admin.delete_topics(list(names))


async def append(
    bootstrap: str, topic: str, lanes: Sequence[Records], *, headers: Headers = (), at_once: bool = False
) -> None:
    """Append records to the partitions 0, 1, … of a topic, each in order.

    `at_once`: in one transaction, so that who reads what is committed sees all of them, or none.
    """
    async with (
        AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            max_batch_size=_BATCH_BYTES,
            max_request_size=_BATCH_BYTES,
            transactional_id=f"append-{uuid.uuid4()}" if at_once else None,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        ) as producer,
        producer.transaction() if at_once else nullcontext(),
    ):
        await asyncio.gather(
            *(_append_lane(producer, TopicPartition(topic, p), lane, list(headers)) for p, lane in enumerate(lanes))
        )


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
    partitions: int,
    records: int,
    programs: Sequence[Program],
    broker_pid: int,
    timeout_seconds: float,
) -> list[Sample]:
    """Watch a group's committed offsets until all `records` are done. Raises RoundFailedError.

    What the programs, together, and the broker have used is noted with every sample.
    """
    topic_partitions = [TopicPartition(topic, partition) for partition in range(partitions)]
    samples: list[Sample] = []
    async with admin_client(bootstrap) as admin:
        coordinator = await admin.find_coordinator(group)
        started = time.monotonic()
        due = started
        while not samples or samples[-1].records < records:
            ended = next((program for program in programs if not program.is_running), None)
            if ended is not None:
                raise RoundFailedError(f"a program under test ended within a round:\n{log_tail(ended.log_path)}")
            committed = await admin.list_consumer_group_offsets(group, coordinator, topic_partitions)
            now = time.monotonic()
            done = sum(max(found.offset, 0) for found in committed.values())
            used = sum(cpu_seconds(program.pid) for program in programs)
            samples.append(Sample(now, done, used, cpu_seconds(broker_pid)))
            if now - started > timeout_seconds:
                raise RoundFailedError(f"{done:,} of {records:,} records after {timeout_seconds:.0f} s")
            due = max(due + POLL_SECONDS, now)
            await asyncio.sleep(due - now)
    return samples
