"""Where a partition task finds its work: what its sources have read, and inputs from inside the engine."""

import asyncio
from collections import deque
from collections.abc import Sequence

from flowmachine.core.inputs import Input
from flowmachine.wire.log import InputRecord


class Inbox:
    """Bounded: readers wait while two batches are already there, so a slow log slows the reading."""

    def __init__(self, records_max: int) -> None:
        self._records_max = records_max
        self._records: deque[Sequence[InputRecord]] = deque()
        self._count = 0
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
        self._records.append(records)
        self._count += len(records)
        if self._count >= self._records_max:
            self.full.set()
        if self._count >= 2 * self._records_max:
            self._has_room.clear()
        self._changed.set()

    def put_internal(self, received: Input) -> None:
        """Add an input from inside the engine; it goes before the records."""
        self._internal.append(received)
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """Make `wait` raise."""
        self._error = error
        self._changed.set()
        self.full.set()

    def close(self) -> None:
        """Make `wait` return False from now on."""
        self._is_closed = True
        self._changed.set()
        self.full.set()

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
        """What is there, up to one batch."""
        records: list[InputRecord] = []
        while self._records and len(records) < self._records_max:
            chunk, room = self._records.popleft(), self._records_max - len(records)
            records.extend(chunk[:room])
            if len(chunk) > room:
                self._records.appendleft(chunk[room:])
        self._count -= len(records)
        internal, self._internal = self._internal, []
        if self._error is None and not self._is_closed:  # else the next `wait` must hear of it at once
            if not self._records:
                self._changed.clear()
            if self._count < self._records_max:
                self.full.clear()
        self._has_room.set()
        return records, internal
