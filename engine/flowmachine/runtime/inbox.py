"""Where a partition task finds its work: what its sources have read, and inputs from inside the engine."""

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from typing import Final

from flowmachine.core.inputs import Input
from flowmachine.wire.log import Fetch, InputRecord

_PIECE: Final = 64
"""Records that are made at once: so few that they are still in the processor's cache when they are decided."""


class Inbox:
    """Bounded: readers wait while two batches are already there, so a slow log slows the reading.

    A batch has `records_max` records, or fewer that have `bytes_max` bytes.
    """

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._fetches: deque[Fetch] = deque()
        self._put = 0
        self._internal: list[Input] = []
        self._error: BaseException | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.full = asyncio.Event()
        """Set while there is a whole batch, or nothing more will come."""
        self.received = 0
        """Fetches ever put, those that wait for room included."""
        self._held_back = 0
        """Records of fetches that wait for room."""

    @property
    def count(self) -> int:
        """How many records wait here, at most."""
        return self._held_back + sum(fetch.count for fetch in self._fetches)

    @property
    def finished(self) -> int:
        """How many fetches have been taken to their end, or fewer."""
        return self._put - len(self._fetches)

    async def put(self, fetch: Fetch) -> None:
        """Add what a source has read; waits for room first."""
        self.received += 1
        self._held_back += fetch.count
        try:
            await self._has_room.wait()
        finally:
            self._held_back -= fetch.count
        self._put += 1
        self._fetches.append(fetch)
        self._update()

    def put_internal(self, received: Input) -> None:
        """Add an input from inside the engine; it goes before the records."""
        self._internal.append(received)
        self._update()

    def put_back(self, internal: Sequence[Input]) -> None:
        """Return inputs that the latest `take_internal` gave and the batch has no room for: they come first again."""
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
        self._update()
        return internal

    def take_records(self) -> Generator[InputRecord]:
        """Records up to one batch by its count; those that are not asked for stay, once this is closed."""
        room = self._records_max
        try:
            while self._fetches and room:
                fetch = self._fetches[0]
                piece = fetch.take(min(room, _PIECE))
                room -= len(piece)
                if not fetch.count:
                    self._fetches.popleft()
                asked_for = iter(piece)
                try:
                    yield from asked_for
                finally:
                    if rest := list(asked_for):
                        self._fetches.appendleft(Fetch.of(rest))
        finally:
            self._update()

    def _update(self) -> None:
        """Tell those who wait, by what is there now. An error or the end is heard of at once."""
        count = sum(fetch.count for fetch in self._fetches)
        size = sum(fetch.size for fetch in self._fetches)
        batches = max(count / self._records_max, size / self._bytes_max)
        is_over = self._error is not None or self._is_closed
        _signal(self._changed, is_over or not self.is_empty)
        _signal(self.full, is_over or batches >= 1)
        _signal(self._has_room, batches < 2)


def _signal(event: asyncio.Event, is_set: bool) -> None:
    if is_set:
        event.set()
    else:
        event.clear()
