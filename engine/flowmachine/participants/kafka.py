"""A participant's Kafka: a consumer group on the commands topics, an idempotent producer for the events."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka

from flowmachine.adapters.kafka.connection import stop_client
from flowmachine.participants.participant import Answer
from flowmachine.wire.log import InputRecord

# aiokafka has few annotations.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

RECORDS_MAX = 500
FETCH_WAIT_MS = 50
"""aiokafka asks a broker for all partitions at once: a command waits until the poll for partitions without one ends."""

_log = logging.getLogger(__name__)


class _KafkaSession:
    def __init__(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, events_topic: str, group: str) -> None:
        self._consumer = consumer
        self._producer = producer
        self._events_topic = events_topic
        self._group = group

    async def fetch(self) -> Sequence[InputRecord]:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=1000, max_records=RECORDS_MAX)
            records = [record for batch in fetched.values() for record in batch]
            if records:
                return records

    async def answer(self, events: Sequence[Answer]) -> None:
        sent = [
            await self._producer.send(self._events_topic, key=key, value=value, headers=list(headers))
            for key, value, headers in events
        ]
        await asyncio.gather(*sent)

    async def commit(self) -> None:
        try:
            await self._consumer.commit()
        except (kafka.CommitFailedError, kafka.IllegalStateError) as error:
            # The group has shared out its partitions anew. Whoever has them now gets these commands once more, and
            # engines pass over a second answer.
            _log.warning("commands may come again", extra={"group": self._group, "reason": type(error).__name__})


@dataclass(frozen=True, slots=True)
class KafkaTransport:
    """Commands from `commands`, events to `events`. A new group reads from the beginning, so no command is missed.

    `client_arguments` go to aiokafka's consumer and producer (security settings, for example).
    """

    brokers: Sequence[str]
    commands: Sequence[str]
    events: str
    group: str
    client_arguments: dict[str, Any] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[_KafkaSession]:
        """Join the group; leave it in order at the end."""
        shared: dict[str, Any] = {
            "bootstrap_servers": list(self.brokers),
            "retry_backoff_ms": 10,
            **self.client_arguments,
        }
        consumer = AIOKafkaConsumer(
            *self.commands,
            group_id=self.group,
            isolation_level="read_committed",  # or commands of transactions that were given up would be carried out
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            **shared,
        )
        producer = AIOKafkaProducer(enable_idempotence=True, acks="all", linger_ms=0, **shared)
        try:
            await producer.start()
            await consumer.start()
            yield _KafkaSession(consumer, producer, self.events, self.group)
        finally:
            await stop_client(consumer)
            await stop_client(producer)
