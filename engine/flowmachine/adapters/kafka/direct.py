"""Small batches without a transaction: `wire/journal.py` says how, this says how Kafka keeps former owners out of it.

The producer has the id and epoch of a transactional id of its own, but begins no transactions. What it writes into the
changelog first (a fence) makes its epoch known there; from then on the broker refuses what a producer with an earlier
epoch of that id sends to this partition. So nobody can change a saga once another engine has restored it.
"""

from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from flowmachine.adapters.kafka.connection import KafkaConnection, stop_client
from flowmachine.adapters.kafka.errors import translated
from flowmachine.adapters.kafka.record_batches import BATCH_BYTES, build_changelog
from flowmachine.wire.journal import FENCE_KEY
from flowmachine.wire.log import SagaRecords


class DirectProducer:
    """Writes to one home partition's changelog, and elsewhere; one owner's only."""

    def __init__(self, connection: KafkaConnection, changelog: TopicPartition, *, transactional_id: str) -> None:
        self._changelog = changelog
        self._transactional_id = transactional_id
        self.client = AIOKafkaProducer(
            **connection.client_arguments(),
            transactional_id=transactional_id,
            max_batch_size=BATCH_BYTES,
            max_request_size=BATCH_BYTES,
            linger_ms=0,
        )

    async def start(self) -> None:
        """Become the owner, and keep the former one out. Raises TransientError, ConfigurationError, FencedError."""
        with translated(f"starting transactional producer {self._transactional_id!r}"):
            await self.client.start()
            # It has its id and epoch now. From here on aiokafka is to take it for an idempotent producer; there is no
            # option for that.
            manager: Any = getattr(self.client, "_txn_manager")  # noqa: B009
            manager.transactional_id = None
        fence = self.build({FENCE_KEY: None})
        assert fence is not None
        with translated(f"fencing home partition {self._changelog.partition}"):
            await self.append(fence)

    def build(self, records: SagaRecords) -> BatchBuilder | None:
        """One record batch of all these; None if they do not fit."""
        if sum(len(key) + len(value or b"") for key, value in records.items()) > BATCH_BYTES:  # known without building
            return None
        batch, *others = build_changelog(records, is_transactional=False)
        return None if others else batch

    async def append(self, builder: BatchBuilder) -> int:
        """Append a batch to the changelog; the offset behind it, once it is safe."""
        count = builder.record_count()
        sent = await self.client.send_batch(builder, self._changelog.topic, partition=self._changelog.partition)
        return int((await sent).offset) + int(count)

    async def stop(self) -> None:
        """Disconnect."""
        await stop_client(self.client)
