"""A store in memory, changes that a test hands over, and an observer that remembers."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.errors import FlowMachineError
from flowmachine.ports import Refused, SagaCopy, SagaFilter
from flowmachine.wire.log import InputRecord


class InMemoryStore:
    """Fulfils `SagaStore` and `SagaQueries`.

    `error` makes every call raise; `gate` holds writes back while it is cleared; `refuses` says which copies it does
    not take.
    """

    def __init__(self, *, retention_finished_ms: int | None = None) -> None:
        self.sagas: dict[str, Saga] = {}
        self.error: FlowMachineError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses: Callable[[SagaCopy], bool] = lambda copy: False
        self.full = ""
        self.writes = 0
        self.reads: list[tuple[str, ...]] = []
        self.is_closed = False
        self._retention_finished_ms = retention_finished_ms

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        await self.gate.wait()
        self._raise_error()
        self.writes += 1
        refused: list[Refused] = []
        for copy in copies:
            if self.refuses(copy):
                refused.append(Refused(copy.saga_id, "too large"))
                continue
            kept = self.sagas.get(copy.saga_id)
            if kept is None or kept.seq < copy.saga.seq:
                self.sagas[copy.saga_id] = copy.saga
        return refused

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        await self.gate.wait()
        self._raise_error()
        self.reads.append(tuple(saga_ids))
        return {saga_id: self.sagas[saga_id] for saga_id in saga_ids if saga_id in self.sagas}

    async def query(self, wanted: SagaFilter, *, after: str | None, limit: int) -> Sequence[SagaCopy]:
        self._raise_error()
        ordered = sorted(self.sagas.items(), key=lambda item: item[0].encode())
        found = [
            SagaCopy(saga_id, saga)
            for saga_id, saga in ordered
            if (after is None or saga_id.encode() > after.encode()) and _matches(saga, wanted)
        ]
        return found[:limit]

    async def tend(self, now_ms: int) -> None:
        self._raise_error()
        if self._retention_finished_ms is not None:
            before_ms = now_ms - self._retention_finished_ms
            self.sagas = {
                saga_id: saga
                for saga_id, saga in self.sagas.items()
                if not saga.is_final or parse_timestamp(saga.updated_at) >= before_ms
            }

    async def close(self) -> None:
        self.is_closed = True

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error


def _matches(saga: Saga, wanted: SagaFilter) -> bool:
    return (
        wanted.state in (None, saga.current_state)
        and wanted.business_state in (None, str(saga.business_state_id))
        and wanted.entity in (None, saga.associated_entity_id)
        and wanted.is_final in (None, saga.is_final)
        and (wanted.updated_before is None or saga.updated_at < wanted.updated_before)
    )


class HandedChanges:
    """Fulfils `SagaChanges` with the records that a test puts in; remembers how far they were committed."""

    def __init__(self) -> None:
        self.records: list[InputRecord] = []
        self.fetched = 0
        self.committed = 0
        self.error: FlowMachineError | None = None
        self.is_running = False

    async def start(self) -> None:
        self.is_running = True
        self.fetched = self.committed

    async def fetch(self, records_max: int, *, timeout_seconds: float) -> Sequence[InputRecord]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        found = self.records[self.fetched : self.fetched + records_max]
        if not found:
            await asyncio.sleep(0.001)
        self.fetched += len(found)
        return found

    async def commit(self) -> None:
        self.committed = self.fetched

    async def lag(self) -> int:
        return len(self.records) - self.committed

    async def stop(self) -> None:
        self.is_running = False


class RecordingStoreObserver:
    """Fulfils `StoreObserver`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.is_available: bool | None = None
        self.lag: int | None = None

    def projected(self, written: int, refused: int, seconds: float) -> None:
        self.counts.update(written=written, refused=refused)

    def store_worked(self, kind: str) -> None:
        self.is_available = True

    def store_failed(self, kind: str, code: str) -> None:
        self.is_available = False
        self.counts[code] += 1

    def projection_lagged(self, records: int) -> None:
        self.lag = records
