"""An input topic partition on Kafka, and how a consumer that reads one partition is set up."""

import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka

from flowmachine.adapters.kafka.connection import KafkaConnection
from flowmachine.adapters.kafka.errors import translated
from flowmachine.adapters.kafka.fetched import WHOLE, as_fetch
from flowmachine.errors import TransientError
from flowmachine.wire.log import Fetch

FETCH_BYTES = 2 * 1024 * 1024
UNPACKED_RECORDS_MAX = 5_000
"""How many records of a long fetch are made at once: a compressed changelog of 8 MB may hold hundreds of megabytes."""
LOOK_MS = 10_000
"""How often a source without records sees whether aiokafka still reads: its task for that may end without a word."""

_log = logging.getLogger(__name__)


def consumer_arguments(connection: KafkaConnection, fetch_bytes: int) -> dict[str, Any]:
    """Arguments of a consumer that belongs to no group and reads one partition."""
    return connection.client_arguments() | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "max_partition_fetch_bytes": fetch_bytes,
        "fetch_max_wait_ms": 500,
    }


class KafkaSource:
    """One input topic partition, from its committed offset on."""

    def __init__(self, consumer: AIOKafkaConsumer, topic_partition: TopicPartition) -> None:
        self._consumer = consumer
        self._topic_partition = topic_partition

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        return self._topic_partition.topic

    async def position(self) -> int:
        """As the port says."""
        with translated("asking for a position"):
            return int(await self._consumer.position(self._topic_partition))

    async def lag(self) -> int:
        """As the port says: the end is the one that came with the latest records."""
        position = await self.position()
        end = self._consumer.highwater(self._topic_partition)
        return 0 if end is None else max(0, end - position)

    async def fetch(self) -> Fetch:
        """As the port says. Records that retention removed before we read them are reported, then skipped."""
        topic, partition = self._topic_partition
        while True:
            try:
                with translated(f"reading {topic}/{partition}"):
                    fetched = await self._consumer.getmany(timeout_ms=LOOK_MS, max_records=WHOLE)
            except TransientError as error:
                if not isinstance(error.__cause__, kafka.OffsetOutOfRangeError):
                    raise
                await self._skip_removed()
                continue
            for records in fetched.values():
                return as_fetch(records)
            self._require_reading()

    def _require_reading(self) -> None:
        consumer: Any = self._consumer  # there is no public way to ask
        if consumer._fetcher.error_future.done():  # noqa: SLF001
            topic, partition = self._topic_partition
            raise TransientError(f"reading {topic}/{partition}: the Kafka client has stopped reading")

    async def _skip_removed(self) -> None:
        topic, partition = self._topic_partition
        with translated(f"reading {topic}/{partition}"):
            wanted = await self._consumer.position(self._topic_partition)
            first = (await self._consumer.beginning_offsets([self._topic_partition]))[self._topic_partition]
            end = (await self._consumer.end_offsets([self._topic_partition]))[self._topic_partition]
        target = first if wanted < first else end
        _log.error(
            "input records are gone before they were read: the topic's retention is shorter than the engine's absence",
            extra={"topic": topic, "partition": partition, "offset": wanted, "next_offset": target},
        )
        self._consumer.seek(self._topic_partition, target)
