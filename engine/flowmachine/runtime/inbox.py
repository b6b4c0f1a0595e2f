"""Where a partition task finds its work: what its sources have read, and inputs from inside the engine."""

import asyncio
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import Final

from flowmachine.core.inputs import Input
from flowmachine.wire.log import Fetch, InputRecord

_PIECE: Final = 64
"""Records that are made at once: so few that they are still in the processor's cache when they are decided."""


class Inbox:
    """Bounded: readers wait while two batches are already there, so a slow log slows the reading.

    A batch is whole once `records_max` records wait, or fewer that have `bytes_max` bytes.
    """

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._fetches: dict[str, deque[tuple[int, Fetch]]] = {}
        """By their topics, of which the first has its turn; each with its number."""
        self._held_back: dict[int, Fetch] = {}
        """Those that wait for room, by their numbers."""
        self._internal: list[Input] = []
        self._error: BaseException | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.full = asyncio.Event()
        """Set while there is a whole batch, or nothing more will come."""
        self.received = 0
        """Fetches ever put, those that wait for room included: they are numbered from 1."""

    @property
    def count(self) -> int:
        """How many records wait here, at most."""
        return sum(fetch.count for fetch in self._held_back.values()) + self._size()[0]

    @property
    def finished(self) -> int:
        """The fetches up to this number have been taken to their end."""
        ready = (number for fetches in self._fetches.values() for number, _ in fetches)
        return min(chain(self._held_back, ready), default=self.received + 1) - 1

    async def put(self, topic: str, fetch: Fetch) -> None:
        """Add what a source of that topic has read; waits for room first."""
        self.received += 1
        number = self.received
        self._held_back[number] = fetch
        try:
            await self._has_room.wait()
        finally:
            del self._held_back[number]
        self._fetches.setdefault(topic, deque()).append((number, fetch))
        self._update()

    def put_internal(self, received: Input) -> None:
        """Add an input from inside the engine; it goes before the records."""
        self._internal.append(received)
        self._update()

    def put_back(self, internal: Sequence[Input]) -> None:
        """Return inputs that the latest `take_internal` gave and the batch has no room for: they come first again."""
        if internal:
            self._internal[:0] = internal
            self._update()

    def fail(self, error: BaseException) -> None:
        """Make `wait` raise."""
        self._error = error
        self._update()

    def close(self) -> None:
        """Make `wait` return False from now on."""
        self._is_closed = True
        self._update()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait for work, or for the time to pass; False: the inbox is closed. Raises what a reader ran into."""
        if not self._changed.is_set():
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if self._error is not None:
            raise self._error
        return not self._is_closed

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._fetches and not self._internal

    def take_internal(self) -> list[Input]:
        """The inputs from inside the engine."""
        internal, self._internal = self._internal, []
        if internal:
            self._update()
        return internal

    def take_pieces(self) -> Generator[Iterator[InputRecord]]:
        """Records up to one batch by its count, some dozens at a time; what is not taken stays, once this is closed.

        The topics take turns at being the first: a long fetch of one does not hold back another's.
        """
        room = self._records_max
        try:
            for topic in list(self._fetches):
                if room:
                    fetches = self._fetches.pop(topic)
                    try:
                        room = yield from _take(fetches, room)
                    finally:
                        if fetches:
                            self._fetches[topic] = fetches  # behind the others
        finally:
            self._update()

    def _size(self) -> tuple[int, int]:
        """Records and bytes that a batch may take."""
        count = size = 0
        for fetches in self._fetches.values():
            for _, fetch in fetches:
                count += fetch.count
                size += fetch.size
        return count, size

    def _update(self) -> None:
        """Tell those who wait, by what is there now. An error or the end is heard of at once."""
        count, size = self._size()
        batches = max(count / self._records_max, size / self._bytes_max)
        is_over = self._error is not None or self._is_closed
        _signal(self._changed, is_over or not self.is_empty)
        _signal(self.full, is_over or batches >= 1)
        _signal(self._has_room, batches < 2)


def _take(fetches: deque[tuple[int, Fetch]], room: int) -> Generator[Iterator[InputRecord], None, int]:
    """Pieces out of fetches, at most `room` records; returns for how many there is room after them."""
    while fetches and room:
        number, fetch = fetches[0]
        piece = fetch.take(min(room, _PIECE))
        room -= len(piece)
        if not fetch.count:
            fetches.popleft()
        records = iter(piece)
        try:
            yield records
        finally:
            if rest := list(records):
                fetches.appendleft((number, Fetch.of(rest)))
    return room


def _signal(event: asyncio.Event, is_set: bool) -> None:
    if is_set:
        event.set()
    else:
        event.clear()
