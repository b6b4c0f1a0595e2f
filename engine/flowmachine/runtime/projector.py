"""Keeps a store's copies of the sagas up to date: reads the `sagas` topic with a group of its own.

    fetch ─► latest copy of each saga ─► write ─► commit the group's offsets
                                          │
                                          └─ the store is away: the same batch again, after a pause

Offsets are committed after the store has answered, so what was under way when the process died is written again; the
store's guard (`seq`) makes that harmless, as it does two projectors that have the same records. Nothing here ever waits
for a saga, and no saga waits for this.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flowmachine.core.saga import is_awaited
from flowmachine.errors import ConfigurationError, InvariantError, TransientError
from flowmachine.ports import Clock, Refused, SagaChanges, SagaCopy, SagaStore, StoreObserver
from flowmachine.runtime.backoff import backoff
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import InputRecord
from flowmachine.wire.record import decode_saga

BATCH_RECORDS_MAX: Final = 1000
WRITE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A thousand sagas of a few kilobytes go in one call; larger ones in several, so that no store chokes on one."""
FETCH_SECONDS: Final = 1.0
TEND_SECONDS: Final = 60.0
LAG_SECONDS: Final = 5.0
PAUSE_FIRST_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 5.0

FULL: Final = "store-full"
"""The code of a store that works, and has no room for more sagas."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How a store is. `problem` is empty while it works and has room; `lag` is None until it is known."""

    kind: str
    problem: str
    code: str
    lag: int | None


class Projector:
    """Copies what one group member gets to read. `run` lives until cancelled."""

    def __init__(
        self, *, kind: str, changes: SagaChanges, store: SagaStore, observer: StoreObserver, clock: Clock
    ) -> None:
        self._kind = kind
        self._changes = changes
        self._store = store
        self._observer = observer
        self._clock = clock
        self._outage = Outage(kind, observer)
        self._tended_at_ms = 0
        self._lag: int | None = None

    def status(self) -> StoreStatus:
        """How it is now."""
        problem, code = self._outage.problem, self._outage.code
        if not code and self._store.full:
            problem, code = self._store.full, FULL
        return StoreStatus(self._kind, problem, code, self._lag)

    async def run(self) -> None:
        """Until cancelled; never raises for what the log or the store does."""
        watcher = asyncio.create_task(self._watch_lag())
        pauses = _pauses()
        try:
            while True:
                try:
                    await self._changes.start()
                    pauses = _pauses()
                    await self._project_batches()
                except (TransientError, ConfigurationError) as error:
                    _log.warning("the projector cannot read the sagas topic", extra={"reason": str(error)})
                except Exception:  # noqa: BLE001 - a bug of ours must not end the projection for good
                    _log.exception("unexpected error in the projector")
                await self._stop_changes()
                await asyncio.sleep(next(pauses))
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await self._stop_changes()

    async def _project_batches(self) -> None:
        while True:
            records = await self._changes.fetch(BATCH_RECORDS_MAX, timeout_seconds=FETCH_SECONDS)
            for copies in _chunks(records):
                await self._write(copies)
            if records:
                await self._changes.commit()
            await self._tend()

    async def _write(self, copies: Sequence[SagaCopy]) -> None:
        """Return once the store has them all. A store that is away keeps us here."""
        pauses = _pauses()
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                refused = await self._store.write(copies)
            except (TransientError, ConfigurationError, InvariantError) as error:
                self._outage.failed(error)
            except Exception as error:  # noqa: BLE001 - as above: nothing may be skipped because of a bug
                _log.exception("unexpected error of the store")
                self._outage.failed(InvariantError(f"unexpected {type(error).__name__}"))
            else:
                self._outage.worked()
                self._observer.projected(len(copies) - len(refused), len(refused), loop.time() - started)
                _report(refused)
                return
            await asyncio.sleep(next(pauses))

    async def _tend(self) -> None:
        now_ms = self._clock()
        if now_ms - self._tended_at_ms < TEND_SECONDS * 1000:
            return
        self._tended_at_ms = now_ms
        try:
            await self._store.tend(now_ms)
        except (TransientError, ConfigurationError) as error:
            self._outage.failed(error)
        else:
            self._outage.worked()

    async def _watch_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_SECONDS)
            try:
                self._lag = await self._changes.lag()
            except TransientError:
                continue  # the reading meets the same error and says it
            self._observer.projection_lagged(self._lag)

    async def _stop_changes(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await self._changes.stop()
        except (TransientError, TimeoutError) as error:
            _log.debug("the projector did not leave its group in order", extra={"reason": repr(error)})


class Outage:
    """Notices when a store stops working and when it works again, and says each once."""

    def __init__(self, kind: str, observer: StoreObserver) -> None:
        self._kind = kind
        self._observer = observer
        self._since = 0.0
        self.problem = ""
        self.code: str = ""

    def failed(self, error: TransientError | ConfigurationError | InvariantError) -> None:
        """It did not do what it was asked. A log line if it did before, or if the reason is another kind."""
        code = error.problems[0].code if isinstance(error, ConfigurationError) else error.code
        self._observer.store_failed(self._kind, code)
        if code != self.code:
            if not self.code:
                self._since = asyncio.get_running_loop().time()
            _log.error(
                "the %s store does not work; sagas go on without it, and it will be tried again",
                self._kind,
                extra={"code": code, "reason": str(error)},
            )
        self.problem, self.code = str(error), code

    def worked(self) -> None:
        """It did."""
        if self.code:
            seconds = asyncio.get_running_loop().time() - self._since
            _log.warning("the %s store works again", self._kind, extra={"seconds": round(seconds, 1)})
        self.problem, self.code = "", ""
        self._observer.store_worked(self._kind)


def _pauses() -> Iterator[float]:
    return backoff(first_seconds=PAUSE_FIRST_SECONDS, seconds_max=PAUSE_SECONDS_MAX)


def _chunks(records: Sequence[InputRecord]) -> Iterator[list[SagaCopy]]:
    """The latest copy of each saga, in portions. Tombstones are not for stores: they keep what they have."""
    latest: dict[bytes, InputRecord] = {}
    for record in records:
        if record.key and record.value and not is_control(record.key):
            latest[record.key] = record
    copies: list[SagaCopy] = []
    size = 0
    for key, record in latest.items():
        assert record.value is not None
        try:
            saga, saga_id = decode_saga(record.value), key.decode()
        except (InvariantError, UnicodeDecodeError) as error:
            _log.error(
                "a record of the sagas topic is not copied to the store",
                extra={
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "reason": str(error),
                },
            )
            continue
        if is_awaited(saga):
            continue
        copies.append(SagaCopy(saga_id, saga))
        size += len(record.value)
        if size >= WRITE_BYTES_MAX:
            yield copies
            copies, size = [], 0
    if copies:
        yield copies


def _report(refused: Sequence[Refused]) -> None:
    """One line for each reason in a batch: a store that is full refuses every saga for the same one."""
    by_reason: dict[str, list[str]] = {}
    for each in refused:
        by_reason.setdefault(each.reason, []).append(each.saga_id)
    for reason, saga_ids in by_reason.items():
        count = len(saga_ids)
        _log.error("the store does not take sagas", extra={"saga_id": saga_ids[0], "count": count, "reason": reason})
