"""What is known of all sagas, read from the machine's own `sagas` topic as it grows."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.errors import TransientError
from flowmachine.wire.log import InputRecord
from flowmachine.wire.record import decode_saga

RETRY_SECONDS: Final = 0.2


class StateEntered(msgspec.Struct, frozen=True):
    """A step of a history."""

    state: str
    timestamp: str


class EventApplied(msgspec.Struct, frozen=True):
    """What led to a step of a history."""

    event: str
    timestamp: str


def states_of(saga: Saga) -> list[StateEntered]:
    """The states that a saga entered, oldest first."""
    return msgspec.json.decode(saga.history.states, type=list[StateEntered])


def events_of(saga: Saga) -> list[EventApplied]:
    """The events that led to them, the creation's first."""
    return msgspec.json.decode(saga.history.events, type=list[EventApplied])


def duration_ms(saga: Saga) -> int:
    """From a saga's creation to its latest change."""
    return parse_timestamp(saga.updated_at) - parse_timestamp(saga.created_at)


@dataclass(slots=True)
class Board:
    """The latest record of every saga."""

    sagas: dict[str, Saga] = field(default_factory=dict[str, Saga])
    finished_at: dict[str, float] = field(default_factory=dict[str, float])
    """By saga id, on the monotonic clock: when its final record was read."""
    _awaited: list[tuple[int, asyncio.Event]] = field(default_factory=list[tuple[int, asyncio.Event]])

    def note(self, record: InputRecord) -> None:
        """Take in a record; older ones than the one that is known change nothing."""
        if record.key is None or record.value is None:
            return
        saga_id, saga = record.key.decode(), decode_saga(record.value)
        known = self.sagas.get(saga_id)
        if known is not None and known.seq >= saga.seq:
            return
        self.sagas[saga_id] = saga
        if saga.is_final:
            self.finished_at.setdefault(saga_id, time.monotonic())
            for number, reached in self._awaited:
                if self.finished >= number:
                    reached.set()

    @property
    def finished(self) -> int:
        """Sagas in a final state."""
        return len(self.finished_at)

    @property
    def unfinished(self) -> int:
        """Sagas on their way."""
        return len(self.sagas) - len(self.finished_at)

    async def wait_finished(self, number: int) -> None:
        """Return when so many sagas are in a final state."""
        reached = asyncio.Event()
        self._awaited.append((number, reached))
        if self.finished < number:
            await reached.wait()

    def by_state(self) -> Counter[str]:
        """How many sagas are in each state."""
        return Counter(saga.current_state for saga in self.sagas.values())

    async def follow(self, path: Path, sagas_topic: str) -> None:
        """Read on and on, until cancelled."""
        while True:
            try:
                async with EmbeddedClient(path) as client:
                    async for records in client.consume([sagas_topic], group="demo"):
                        for record in records:
                            self.note(record)
            except TransientError:  # the file was busy; what is known stays known
                await asyncio.sleep(RETRY_SECONDS)


def count_entered(sagas: Iterable[Saga]) -> Counter[str]:
    """How many sagas entered each state."""
    return Counter(step.state for saga in sagas for step in states_of(saga))


def count_transitions(sagas: Iterable[Saga]) -> Counter[tuple[str, str]]:
    """How often each transition, (source state, event), was taken."""
    return Counter(
        (before.state, applied.event)
        for saga in sagas
        for (before, _), applied in zip(pairwise(states_of(saga)), events_of(saga)[1:], strict=True)
    )
