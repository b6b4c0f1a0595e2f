"""The `sagas` topic for the projector: the offsets of a group of its own stand in the file, as those of participants.

A compacted topic of the file has one record per saga, always the latest, so a projector that was away for long reads
each saga once. Tombstones wait for it (`retention.py`).
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from flowmachine.adapters.embedded.client import EmbeddedClient, EmbeddedConsumer
from flowmachine.adapters.embedded.store import Store
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.wire.log import InputRecord


class EmbeddedChanges:
    """Fulfils `ports.SagaChanges`, in the engine's process or in another one."""

    def __init__(self, path: Path, *, topic: str, group: str) -> None:
        self._path = path
        self._topic = topic
        self._group = group
        self._client: EmbeddedClient | None = None
        self._consumer: EmbeddedConsumer | None = None

    async def start(self) -> None:
        await self.stop()
        if not self._path.is_file():
            raise ConfigurationError.of(
                str(self._path), "log-missing", "there is no such file: no engine has run there"
            )
        client = EmbeddedClient(self._path)
        await client.start()
        self._client = client

    async def fetch(self, records_max: int, *, timeout_seconds: float) -> Sequence[InputRecord]:
        if self._consumer is None:
            self._consumer = self._started().consume([self._topic], group=self._group, records_max=records_max)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await anext(self._consumer)
        except TimeoutError:
            return ()

    async def commit(self) -> None:
        if self._consumer is not None:
            await self._consumer.commit()

    async def lag(self) -> int:
        topic, group = self._topic, self._group

        def look(store: Store) -> int:
            partitions = [(topic, number) for number in range(len(store.topic(topic).partition_ids))]
            return sum(
                store.end(cursor.partition_id) - cursor.next_offset for cursor in store.cursors(group, partitions)
            )

        return await self._started().worker.read(look)

    async def stop(self) -> None:
        client, self._client, self._consumer = self._client, None, None
        if client is not None:
            await client.stop()

    def _started(self) -> EmbeddedClient:
        if self._client is None:
            raise TransientError("the projector has not opened the log")
        return self._client
