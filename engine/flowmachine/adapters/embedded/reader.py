"""Reads whole topics and a group's offsets of a file, as an auditor does: makes nothing, and needs no lock."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flowmachine.adapters.embedded.client import BATCH_RECORDS_MAX, EmbeddedClient
from flowmachine.adapters.embedded.rows import Cursor
from flowmachine.adapters.embedded.store import ReadFrom, Store
from flowmachine.errors import ConfigurationError
from flowmachine.wire.log import InputRecord


class EmbeddedReader:
    """An asynchronous context manager over an existing file, whether an engine uses it or not."""

    def __init__(self, path: Path, group: str) -> None:
        self._path = path
        self._group = group
        self._client = EmbeddedClient(path)

    async def __aenter__(self) -> Self:
        try:
            is_there = self._path.is_file()
        except OSError as error:  # of a folder that may not be looked into
            message = f"the file cannot be read: {error.strerror}"
            raise ConfigurationError.of(str(self._path), "log-unreadable", message) from error
        if not is_there:
            message = "there is no such file: no engine has run there, or --data-dir is to name another folder"
            raise ConfigurationError.of(str(self._path), "log-missing", message)
        await self._client.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.stop()

    async def partition_counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        """How many partitions each topic has. Raises ConfigurationError for one that is missing."""
        return await self._client.worker.read(
            lambda store: {topic: len(store.topic(topic).partition_ids) for topic in topics}
        )

    async def committed(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """The group's offsets."""
        cursors = await self._client.worker.read(lambda store: store.cursors(self._group, partitions))
        return {(cursor.topic, cursor.partition): cursor.next_offset for cursor in cursors}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is still there, and the one behind the last."""

        def look(store: Store) -> tuple[int, int]:
            partition_id = store.partition_id((topic, partition))
            end = store.end(partition_id)
            first = store.read(Cursor(partition_id, topic, partition, next_offset=0), 1)
            return (first[0].offset if first else end), end

        return await self._client.worker.read(look)

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[InputRecord]]:
        """The records of these offsets, in batches."""
        partition_id = await self._client.worker.read(lambda store: store.partition_id((topic, partition)))
        position = start
        while position < end:
            cursor = Cursor(partition_id, topic, partition, next_offset=position)
            batch = await self._client.worker.read(ReadFrom(cursor, BATCH_RECORDS_MAX))
            records = [record for record in batch if record.offset < end]
            if not records:
                return
            yield records
            position = records[-1].offset + 1
