"""Reads whole topics and a group's offsets, as an auditor does: belongs to no group, writes nothing."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.diagnosis import connected_admin
from flowmachine.adapters.kafka.errors import translate, translated
from flowmachine.adapters.kafka.source import UNPACKED_RECORDS_MAX, consumer_arguments
from flowmachine.errors import ConfigurationError, Problem, TransientError
from flowmachine.wire.log import InputRecord

_FETCH_BYTES = 8 * 1024 * 1024
_FETCH_WAIT_MS = 10
"""All that is asked for is there: a broker has nothing to wait for, and the next partition waits for its answer."""
_POLL_MS = 500
_STALLED_SECONDS_MAX = 60.0
"""A partition that brings nothing for so long is held up, by an open transaction or by its broker."""
_MARKERS_SECONDS = 1.0
"""A transaction's markers reach its partitions one after the other. What is read this long after the offsets has all
of the transactions that they belong to."""


class KafkaReader:
    """An asynchronous context manager; all records are those that read_committed shows."""

    def __init__(self, connection: KafkaConnection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._stack = AsyncExitStack()
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        try:
            admin = await self._stack.enter_async_context(connected_admin(self._connection))
            arguments = consumer_arguments(self._connection, _FETCH_BYTES)
            arguments["fetch_max_wait_ms"] = _FETCH_WAIT_MS
            consumer = AIOKafkaConsumer(**arguments)
            self._stack.push_async_callback(stop_client, consumer)
            with translated(f"connecting to {self._connection.address}"):
                await consumer.start()
        except BaseException:
            await self._stack.aclose()
            raise
        self._admin, self._consumer = admin, consumer
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def partition_counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How many partitions each topic has. Raises ConfigurationError with every topic that is missing."""
        assert self._admin is not None
        with translated("describing topics"):
            described: list[dict[str, Any]] = await self._admin.describe_topics(sorted(set(topics)))
        counts: dict[str, int] = {}
        problems: list[Problem] = []
        for topic in described:
            error = kafka.for_code(topic["error_code"])
            if error is kafka.NoError:
                counts[topic["topic"]] = len(topic["partitions"])
            elif error is kafka.UnknownTopicOrPartitionError:
                text = f"topic {topic['topic']!r} does not exist on {self._connection.address}"
                problems.append(Problem("kafka", "topic-missing", text))
            else:
                raise translate(error(topic["topic"]), "describing topics")
        if problems:
            raise ConfigurationError(problems)
        return counts

    async def committed(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """The group's offsets, without the partitions for which it has none."""
        assert self._admin is not None
        wanted = [TopicPartition(*place) for place in partitions]
        with translated(f"reading the offsets of consumer group {self._group!r}"):
            try:
                offsets = await self._admin.list_consumer_group_offsets(self._group, partitions=wanted)
            except AttributeError as error:  # aiokafka 0.14 trips over the error code of a coordinator still loading
                raise TransientError(f"the coordinator of group {self._group!r} is not ready") from error
        if len(offsets) != len(wanted):
            raise TransientError(f"the coordinator of group {self._group!r} did not answer for every partition")
        await asyncio.sleep(_MARKERS_SECONDS)
        return {(tp.topic, tp.partition): offsets[tp].offset for tp in wanted if offsets[tp].offset >= 0}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is still there, and the one behind the last that is visible."""
        assert self._consumer is not None
        place = TopicPartition(topic, partition)
        with translated(f"asking for the ends of {topic}/{partition}"):
            first = (await self._consumer.beginning_offsets([place]))[place]
            end = (await self._consumer.end_offsets([place]))[place]
        return first, end

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """The records of these offsets, in batches. Raises TransientError if they do not come."""
        assert self._consumer is not None
        if start >= end:
            return  # aiokafka may miss that it is stopped directly after it was assigned another partition
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, start)
        position, idle_seconds = start, 0.0
        while position < end:
            with translated(f"reading {topic}/{partition}"):
                fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=UNPACKED_RECORDS_MAX)
                moved = await self._consumer.position(place)
            idle_seconds = idle_seconds + _POLL_MS / 1000 if moved == position else 0.0
            if idle_seconds > _STALLED_SECONDS_MAX:
                raise TransientError(f"{topic}/{partition} brings nothing from offset {position} on")
            position = moved
            for records in fetched.values():
                wanted = [record for record in records if record.offset < end]
                if wanted:
                    yield wanted
