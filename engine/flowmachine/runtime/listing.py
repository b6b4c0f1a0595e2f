"""Lists of sagas: from a store that can be searched, or else from the engines' memory.

A store lists them in the order of their ids. The engines' order is (home partition, saga id): it is the same on every
engine, and no saga changes its place in it while it moves. A saga that is there during the whole list is in it exactly
once; one that comes or goes meanwhile may be or not.

A page costs the engines a bounded amount of work, however few sagas match: partitions are looked through one after the
other, each by its owner, until the page is full or `SCANNED_MAX` sagas have been looked at. Owners work in slices, so
that partitions go on with their batches in between.
"""

import asyncio
from typing import Final, Literal

import msgspec

from flowmachine.core.phases import Phase
from flowmachine.errors import TransientError
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.ports import PeerReader, SagaQueries
from flowmachine.runtime.engine import Engine
from flowmachine.wire.listing import (
    CursorError,
    SagaFilter,
    SagaPage,
    SagaSummary,
    Scan,
    ScanRequest,
    decode_cursor,
    encode_cursor,
    summarise,
)

SCANNED_MAX: Final = 50_000
"""Sagas that are looked at for one page: 0.2 s of one core with records of 1.3 kB (measured)."""
SLICE_SAGAS: Final = 500
"""About a millisecond, after which whatever else waits has its turn."""
PAGE_TIMEOUT_SECONDS: Final = 10.0

_Place = tuple[Literal["engine"], int, str]
"""What a cursor holds: the home partition, and the id after which to go on."""
_place_decoder: Final[msgspec.json.Decoder[_Place]] = msgspec.json.Decoder(_Place)

_StorePlace = tuple[Literal["store"], str]
_store_place_decoder: Final[msgspec.json.Decoder[_StorePlace]] = msgspec.json.Decoder(_StorePlace)


class StoreListing:
    """Fulfils `ports.SagaFinder` from a store; what it lists is as old as the store's copies."""

    def __init__(self, queries: SagaQueries) -> None:
        self._queries = queries

    async def find(self, wanted: SagaFilter, *, limit: int, cursor: str | None) -> SagaPage:
        """As the port says."""
        after = decode_cursor(cursor, _store_place_decoder.decode)[1] if cursor is not None else None
        copies = await self._queries.query(wanted, after=after, limit=limit)
        place: _StorePlace = ("store", copies[-1].saga_id if copies else "")
        sagas = [summarise(copy.saga_id, copy.saga) for copy in copies]
        return SagaPage(sagas, encode_cursor(place) if len(copies) == limit else None)


class EngineListing:
    """Fulfils `ports.SagaFinder` from the sagas that engines hold."""

    def __init__(self, engine: Engine, peers: PeerReader) -> None:
        self._engine = engine
        self._peers = peers

    async def find(self, wanted: SagaFilter, *, limit: int, cursor: str | None) -> SagaPage:
        """As the port says. Raises TransientError while a home partition has no owner that can be asked."""
        if self._engine.topics is None:
            raise TransientError("the engine has not reached its log yet")
        partitions = self._engine.topics.home_partitions
        partition, after = _decode_place(cursor, partitions) if cursor is not None else (0, "")
        found: list[SagaSummary] = []
        left = SCANNED_MAX
        try:
            async with asyncio.timeout(PAGE_TIMEOUT_SECONDS):
                while partition < partitions and left > 0 and len(found) < limit:
                    scan = await self.scan(ScanRequest(partition, wanted, after, limit - len(found), left))
                    found += scan.sagas
                    left -= scan.scanned
                    partition, after = (partition + 1, "") if scan.after is None else (partition, scan.after)
        except TimeoutError:
            raise TransientError(f"home partition {partition} did not answer in {PAGE_TIMEOUT_SECONDS:.0f} s") from None
        place: _Place = ("engine", partition, after)
        return SagaPage(found, encode_cursor(place) if partition < partitions else None)

    async def scan(self, request: ScanRequest, *, is_from_peer: bool = False) -> Scan:
        """Part of one home partition, from its owner. Raises TransientError."""
        if self._engine.task(request.partition) is not None:
            return await self._scan_own(request)
        assignment = self._engine.assignment
        owner = assignment.owners.get(request.partition) if assignment is not None else None
        if owner is None or is_from_peer:
            raise TransientError(f"home partition {request.partition} is moving to another engine")
        return await self._peers.scan(owner, request)

    async def _scan_own(self, request: ScanRequest) -> Scan:
        is_ordered = False
        while not is_ordered:
            is_ordered = self._sagas(request.partition).order_some(SLICE_SAGAS)
            await asyncio.sleep(0)
        found: list[SagaSummary] = []
        after, scanned = request.after, 0
        while True:
            part = self._sagas(request.partition).scan(
                ScanRequest(
                    request.partition,
                    request.wanted,
                    after,
                    request.limit - len(found),
                    min(SLICE_SAGAS, request.scanned_max - scanned),
                )
            )
            found += part.sagas
            scanned += part.scanned
            if part.after is None or len(found) == request.limit or scanned == request.scanned_max:
                return Scan(found, part.after, scanned)
            after = part.after
            await asyncio.sleep(0)

    def _sagas(self, partition: int) -> PartitionSagas:
        """A partition's sagas, as long as they are all here and ours: looked up anew for every slice."""
        task = self._engine.task(partition)
        if task is None:
            raise TransientError(f"home partition {partition} is moving to another engine")
        if task.phase is not Phase.RUNNING:
            raise TransientError(f"home partition {partition} is {task.phase.value}")
        return task.partition.sagas


def _decode_place(cursor: str, partitions: int) -> tuple[int, str]:
    _, partition, after = decode_cursor(cursor, _place_decoder.decode)
    if not 0 <= partition < partitions:
        raise CursorError("this cursor does not come from this machine")
    return partition, after
