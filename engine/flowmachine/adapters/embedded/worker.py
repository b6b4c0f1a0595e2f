"""The thread that owns the file's connection: it runs all operations, shares the fsync, wakes who waits for records.

    callers (any event loop) ──► queue ──► a turn of the thread ──► results, one wake-up per event loop
                                            1. reads
                                            2. all queued writes in ONE transaction, each in a savepoint: one that
                                               fails (fenced) fails alone, the others share the fsync
                                            3. waiting reads whose partition has grown

A waiting read (`wait_for_records`) that finds nothing is kept by the thread and run again after an append to its
partition, so there is no gap between looking and waiting in which a record could go unnoticed. What other processes
append is found by looking at SQLite's `data_version`, only while somebody waits.

All logs and clients of a process that use the same file share one thread (`acquire_worker`): SQLite has a single writer
anyway, and they then wake each other at once.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, final

from flowmachine.adapters.embedded.failures import translate
from flowmachine.adapters.embedded.rows import Cursor
from flowmachine.adapters.embedded.schema import Synchronous, retry_while_busy
from flowmachine.adapters.embedded.store import Store
from flowmachine.errors import FlowMachineError, InvariantError, TransientError
from flowmachine.wire.log import StoredRecord

POLL_SECONDS = 0.015
"""How often we look whether another process has written: a hop's latency, against 10 us of work per look."""

CALLS_PER_TURN_MAX = 64
"""More partition tasks than an engine has; bounds how long one transaction, and so one turn, can get. The queue itself
needs no limit: every caller waits for its call."""

_T = TypeVar("_T")


@final
class _Call(Generic[_T]):
    """An operation on its way through the thread."""

    def __init__(
        self,
        operation: Callable[[Store], _T],
        *,
        is_write: bool = False,
        awaited_partitions: frozenset[int] | None = None,
    ) -> None:
        self.operation = operation
        self.is_write = is_write
        self.awaited_partitions = awaited_partitions
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[_T] = self.loop.create_future()
        self.result: _T | None = None
        self.error: Exception | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether it looked for records and there were none."""
        return self.awaited_partitions is not None and self.error is None and not self.result

    def run(self, store: Store) -> None:
        self.error = None
        try:
            self.result = self.operation(store)
        except Exception as error:  # noqa: BLE001 - the caller gets it; the thread must outlive it
            self.error = error

    def deliver(self, path: Path) -> None:
        """In the caller's event loop: finish the future."""
        if self.future.done():  # cancelled meanwhile
            return
        if self.error is None:
            self.future.set_result(self.result)  # type: ignore[arg-type]
        else:
            self.future.set_exception(_presentable(self.error, path))


def _presentable(error: Exception, path: Path) -> FlowMachineError:
    if isinstance(error, FlowMachineError):
        return error
    presentable = (
        translate(error, path)
        if isinstance(error, sqlite3.Error)
        else InvariantError(f"{path}: {type(error).__name__}: {error}")
    )
    presentable.__cause__ = error
    return presentable


_AnyCall = _Call[Any]


@final
class StoreWorker:
    """The thread of one file, and its callers' side."""

    def __init__(self, path: Path, synchronous: Synchronous) -> None:
        self.path = path
        self._synchronous: Synchronous = synchronous
        self._queue: SimpleQueue[_AnyCall | None] = SimpleQueue()
        self._is_open = True
        self._put_lock = threading.Lock()
        self._waiting: list[_AnyCall] = []
        self._finished: list[_AnyCall] = []
        self._data_version = -1
        self._next_poll = 0.0
        self._thread = threading.Thread(target=self._run, name=f"flowmachine-{path.name}", daemon=True)
        self._thread.start()

    # Callers' side

    async def read(self, operation: Callable[[Store], _T]) -> _T:
        """The operation's result. Raises TransientError, ConfigurationError."""
        return await self._submit(_Call(operation))

    async def write(self, operation: Callable[[Store], _T]) -> _T:
        """The same in a transaction, which is on disk on return. Raises what the operation raises, TransientError."""
        return await self._submit(_Call(operation, is_write=True))

    async def wait_for_records(self, cursors: Sequence[Cursor], records_max: int) -> list[StoredRecord]:
        """The records from the cursors on, as soon as there is one."""

        def read(store: Store) -> list[StoredRecord]:
            records: list[StoredRecord] = []
            for cursor in cursors:
                if len(records) < records_max:
                    records.extend(store.read(cursor, records_max - len(records)))
            return records

        awaited = frozenset(cursor.partition_id for cursor in cursors)
        return await self._submit(_Call(read, awaited_partitions=awaited))

    async def stop(self) -> None:
        """Close the file after all that was asked for; who waits for records gets TransientError."""
        with self._put_lock:
            self._is_open = False
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _submit(self, call: _Call[_T]) -> _T:
        with self._put_lock:  # nothing may come behind the mark that ends the thread
            if not self._is_open:
                raise _stopped(self.path)
            self._queue.put(call)
        return await call.future

    # The thread's side

    def _run(self) -> None:
        try:
            store = Store(self.path, self._synchronous)
        except FlowMachineError as error:
            self._refuse_all(error)
            return
        is_last = False
        while not is_last:
            calls, is_last = self._take_calls()
            self._turn(store, calls)
            self._deliver()
        for call in self._waiting:
            call.error = _stopped(self.path)
        self._finished = self._waiting
        self._deliver()
        store.close()

    def _refuse_all(self, error: FlowMachineError) -> None:
        while (call := self._queue.get()) is not None:
            call.error = error
            self._finished.append(call)
            self._deliver()

    def _take_calls(self) -> tuple[list[_AnyCall], bool]:
        """Wait for a call, or for the time to look after other processes; and whether the end has been reached."""
        calls: list[_AnyCall] = []
        with contextlib.suppress(Empty):
            call = self._queue.get(timeout=POLL_SECONDS if self._waiting else None)
            while call is not None:
                calls.append(call)
                if len(calls) == CALLS_PER_TURN_MAX:
                    break
                call = self._queue.get_nowait()
            return calls, call is None
        return calls, False

    def _turn(self, store: Store, calls: Sequence[_AnyCall]) -> None:
        for call in calls:
            if not call.is_write:
                self._read(store, call)
        writes = [call for call in calls if call.is_write and not call.future.cancelled()]
        if writes:
            self._write(store, writes)
            self._finished.extend(writes)
        grown = store.take_appended()
        if self._waiting:
            self._wake(store, grown)

    def _read(self, store: Store, call: _AnyCall) -> None:
        _run_read(store, call)
        if call.is_waiting:
            self._waiting.append(call)
        else:
            self._finished.append(call)

    def _wake(self, store: Store, grown: set[int]) -> None:
        """Run again the waiting reads that may find something now."""
        is_foreign = self._has_foreign_write(store)
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            if call.future.cancelled():
                continue
            if is_foreign or not grown.isdisjoint(call.awaited_partitions or ()):
                self._read(store, call)
            else:
                self._waiting.append(call)

    def _has_foreign_write(self, store: Store) -> bool:
        now = time.monotonic()
        if now < self._next_poll:
            return False
        self._next_poll = now + POLL_SECONDS
        try:
            version = store.data_version()
        except sqlite3.Error:
            return True  # the reads will meet the same error and tell their callers
        is_changed = version != self._data_version
        self._data_version = version
        return is_changed

    def _write(self, store: Store, calls: Sequence[_AnyCall]) -> None:
        """One transaction for all calls; an error of the transaction itself is everybody's."""
        connection = store.connection
        try:
            retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
            for call in calls:
                _run_in_savepoint(store, call)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have ended the transaction already
                connection.execute("ROLLBACK")
            store.forget_topics()
            for call in calls:
                call.error = call.error or error

    def _deliver(self) -> None:
        """Hand results to their event loops, one wake-up for each."""
        if not self._finished:
            return
        by_loop: defaultdict[asyncio.AbstractEventLoop, list[_AnyCall]] = defaultdict(list)
        for call in self._finished:
            by_loop[call.loop].append(call)
        self._finished = []
        for loop, calls in by_loop.items():
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_deliver_all, calls, self.path)


def _deliver_all(calls: Sequence[_AnyCall], path: Path) -> None:
    for call in calls:
        call.deliver(path)


def _run_in_savepoint(store: Store, call: _AnyCall) -> None:
    """Run a call so that its failure leaves the others' work. Raises sqlite3.Error when the transaction is gone."""
    connection = store.connection
    connection.execute("SAVEPOINT call")
    call.run(store)
    if call.error is not None:
        connection.execute("ROLLBACK TO call")
        store.forget_topics()
    connection.execute("RELEASE call")


def _run_read(store: Store, call: _AnyCall) -> None:
    """Run a read, again while another connection is in its way."""

    def attempt() -> None:
        call.run(store)
        if isinstance(call.error, sqlite3.Error):
            raise call.error

    with contextlib.suppress(sqlite3.Error):  # kept in call.error
        retry_while_busy(attempt)


def _stopped(path: Path) -> TransientError:
    return TransientError(f"{path}: the log has been stopped")


_workers: dict[tuple[Path, Synchronous], tuple[StoreWorker, int]] = {}
"""(file, durability) -> its thread and how many use it."""
_workers_lock = threading.Lock()


async def acquire_worker(path: Path, synchronous: Synchronous) -> StoreWorker:
    """The file's thread, open; to be given back with `release_worker`. Raises ConfigurationError, TransientError."""
    key = (Path(os.path.realpath(path)), synchronous)  # noqa: ASYNC240 - once, and a local disk
    with _workers_lock:
        worker, users = _workers.get(key) or (StoreWorker(*key), 0)
        _workers[key] = (worker, users + 1)
    try:
        await worker.read(Store.data_version)
    except BaseException:
        await release_worker(worker, synchronous)
        raise
    return worker


async def release_worker(worker: StoreWorker, synchronous: Synchronous) -> None:
    """Give the thread back; the last user ends it and closes the file."""
    key = (worker.path, synchronous)
    with _workers_lock:
        _, users = _workers[key]
        if users > 1:
            _workers[key] = (worker, users - 1)
            return
        del _workers[key]
    await worker.stop()
