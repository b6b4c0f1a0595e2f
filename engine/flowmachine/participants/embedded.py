"""A participant's embedded log: a group's offsets in the file, and its events in the same transaction.

Better than Kafka's at least once: the events of a batch and the offsets of its commands become visible together, so a
crash leaves either both or neither. Handlers may still run twice; their events are never there twice.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from flowmachine.adapters.embedded.client import EmbeddedClient, EmbeddedConsumer
from flowmachine.participants.participant import Answer
from flowmachine.wire.log import InputRecord, OutputRecord


class _EmbeddedSession:
    def __init__(self, consumer: EmbeddedConsumer, events_topic: str) -> None:
        self._consumer = consumer
        self._events_topic = events_topic
        self._answers: list[OutputRecord] = []

    async def fetch(self) -> Sequence[InputRecord]:
        return await anext(self._consumer)

    async def answer(self, events: Sequence[Answer]) -> None:
        """Keep the events for `commit`: until then their commands count as not handled, so nothing can get lost."""
        self._answers.extend(
            OutputRecord(self._events_topic, key, value, headers=headers) for key, value, headers in events
        )

    async def commit(self) -> None:
        await self._consumer.commit(self._answers)
        self._answers = []


@dataclass(frozen=True, slots=True)
class EmbeddedTransport:
    """Commands from `commands`, events to `events`, in the engine's file; topics that are missing are made.

    A new group reads from the beginning, so no command is missed.
    """

    path: Path
    commands: Sequence[str]
    events: str
    group: str

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[_EmbeddedSession]:
        """Open the file; close it at the end."""
        async with EmbeddedClient(self.path) as client:
            await client.create_topics([*self.commands, self.events])
            yield _EmbeddedSession(client.consume(self.commands, group=self.group), self.events)
