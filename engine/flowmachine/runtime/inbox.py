"""Where a partition task finds its work: what its sources have read, and inputs from inside the engine."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from flowmachine.core.inputs import Input
from flowmachine.wire.log import InputRecord

_value: Callable[[InputRecord], bytes | None] = attrgetter("value")


class Inbox:
    """Bounded: readers wait while two batches are already there, so a slow log slows the reading.

    A batch has `records_max` records, or fewer whose values have `bytes_max` bytes.
    """

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._chunks: deque[tuple[Sequence[InputRecord], int]] = deque()
        """What was read at once, and the bytes of its values."""
        self._count = 0
        self._bytes = 0
        self._internal: list[Input] = []
        self._error: BaseException | None = None
        self._is_closed = False
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self.full = asyncio.Event()
        """Set while there is a whole batch, or nothing more will come."""
        self.received = 0
        """Records ever put, those that wait for room included."""

    async def put_records(self, records: Sequence[InputRecord]) -> None:
        """Add what a source has read; waits for room first."""
        self.received += len(records)
        await self._has_room.wait()
        size = _size(records)
        self._chunks.append((records, size))
        self._count += len(records)
        self._bytes += size
        self._update()

    def put_internal(self, received: Input) -> None:
        """Add an input from inside the engine; it goes before the records."""
        self._internal.append(received)
        self._update()

    def put_back(self, records: Sequence[InputRecord], internal: Sequence[Input]) -> None:
        """Return what the latest `take` gave and the batch has no room for: it comes first again."""
        if records:
            size = _size(records)
            self._chunks.appendleft((records, size))
            self._count += len(records)
            self._bytes += size
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
        """Whether `take` would return nothing."""
        return not self._count and not self._internal

    def take(self) -> tuple[list[InputRecord], list[Input]]:
        """What is there, up to one batch by its count."""
        records: list[InputRecord] = []
        while self._chunks and len(records) < self._records_max:
            (chunk, size), room = self._chunks.popleft(), self._records_max - len(records)
            if len(chunk) > room:
                taken = size * room // len(chunk)  # near enough: nothing is counted twice
                self._chunks.appendleft((chunk[room:], size - taken))
                chunk, size = chunk[:room], taken
            records.extend(chunk)
            self._bytes -= size
        self._count -= len(records)
        internal, self._internal = self._internal, []
        self._update()
        return records, internal

    def _update(self) -> None:
        """Tell those who wait, by what is there now. An error or the end is heard of at once."""
        batches = max(self._count / self._records_max, self._bytes / self._bytes_max)
        is_over = self._error is not None or self._is_closed
        _signal(self._changed, is_over or not self.is_empty)
        _signal(self.full, is_over or batches >= 1)
        _signal(self._has_room, batches < 2)


def _size(records: Sequence[InputRecord]) -> int:
    return sum(map(len, filter(None, map(_value, records))))


def _signal(event: asyncio.Event, is_set: bool) -> None:
    if is_set:
        event.set()
    else:
        event.clear()
