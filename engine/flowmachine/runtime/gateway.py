"""What the HTTP API asks of the engines: create a saga, report an event, read a saga.

Any engine serves any request. Creations and events go to the intake of the saga's home partition; reads go to the
engine that owns it, which has the saga in memory. A saga that the owner does not know *yet* may stand in the intake:
before it says no, the owner catches up with the intake's end. So whoever has an id from `POST /saga` can read that saga
at once.

With `throwOnUnexpectedEvents` an event's sender waits for what becomes of it: the owner of the home partition is asked
for the offset at which the event was appended.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from flowmachine.core.partitioners import align, home
from flowmachine.core.trace import TraceContext
from flowmachine.errors import TransientError
from flowmachine.ports import PeerOutcomes, PeerReader, Topics
from flowmachine.runtime.engine import Engine
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.outcome import EventOutcome, IntakePlace
from flowmachine.wire.record import is_awaited_record
from flowmachine.wire.trace import encode_trace_context

READ_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How ids are made."""

    saga_id_prefix: str = ""
    align_partitioners: Sequence[str] = ("java", "kafkajs-legacy")


class Gateway:
    """The way into the engines from HTTP."""

    def __init__(
        self, engine: Engine, settings: GatewaySettings, peers: PeerReader, peer_outcomes: PeerOutcomes
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._peers = peers
        self._peer_outcomes = peer_outcomes

    async def create(self, creation: Creation, idempotency_key: str | None, trace: TraceContext | None = None) -> str:
        """Ask for a saga and return its id. The same key gives the same id, and the saga is created once.

        Raises TransientError when the log is away; it is then not known whether the saga will come to be.
        """
        topics = self._topics()
        saga_id = self._mint(idempotency_key, topics.home_partitions)
        headers = (*CREATE_HEADERS, *encode_trace_context(trace))
        await self._append(saga_id, encode_creation(creation), headers)
        return saga_id

    async def report(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> None:
        """Append an event, as a record's value, for a saga. Raises TransientError when the log is away."""
        await self._append(saga_id, value, encode_trace_context(trace))

    async def report_and_wait(self, saga_id: str, value: bytes, trace: TraceContext | None = None) -> EventOutcome:
        """The same, and what became of it. After a TransientError that says so the event is safe all the same."""
        place = await self._append(saga_id, value, encode_trace_context(trace))
        try:
            return await self.outcome(place)
        except TransientError as error:
            raise TransientError(f"the event is safe, but nobody could say what became of it: {error}") from error

    async def outcome(self, place: IntakePlace, *, is_from_peer: bool = False) -> EventOutcome:
        """What became of an event, once that is known; the owner of its partition is asked. Raises TransientError."""
        if not 0 <= place.partition < self._topics().home_partitions:
            raise TransientError(f"there is no home partition {place.partition}")
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                task = self._engine.task(place.partition)
                if task is not None:
                    return await task.wait_outcome(place.offset)
                return await self._peer_outcomes.outcome(self._owner(place.partition, is_from_peer=is_from_peer), place)
        except TimeoutError:
            raise TransientError(
                f"home partition {place.partition} did not get to it in {READ_TIMEOUT_SECONDS:.0f} s"
            ) from None

    async def read(self, saga_id: str, *, is_from_peer: bool = False) -> bytes | None:
        """A saga's record from the engine that owns it; None if there is no such saga. Raises TransientError."""
        partition = home(saga_id.encode(), self._topics().home_partitions)
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                task = self._engine.task(partition)
                if task is None:
                    return await self._read_from_owner(partition, saga_id, is_from_peer=is_from_peer)
                key = saga_id.encode()
                record = task.partition.sagas.get(key)
                if record is None:
                    await task.wait_caught_up(await self._engine.log.intake_end(partition))
                    record = task.partition.sagas.get(key)
                if record is not None and is_awaited_record(record):
                    raise TransientError(f"saga {saga_id!r} is still to be loaded from the store")
                return record
        except TimeoutError:
            raise TransientError(
                f"home partition {partition} did not catch up in {READ_TIMEOUT_SECONDS:.0f} s"
            ) from None

    async def _read_from_owner(self, partition: int, saga_id: str, *, is_from_peer: bool) -> bytes | None:
        return await self._peers.read(self._owner(partition, is_from_peer=is_from_peer), saga_id)

    def _owner(self, partition: int, *, is_from_peer: bool) -> str:
        assignment = self._engine.assignment
        owner = assignment.owners.get(partition) if assignment is not None else None
        if owner is None or is_from_peer:
            raise TransientError(f"home partition {partition} is moving to another engine")
        return owner

    async def _append(self, saga_id: str, value: bytes, headers: Sequence[tuple[str, bytes]]) -> IntakePlace:
        topics = self._topics()
        key = saga_id.encode()
        partition = home(key, topics.home_partitions)
        (offset,) = await self._engine.log.append_intake([OutputRecord(topics.intake, key, value, partition, headers)])
        return IntakePlace(partition, offset)

    def _mint(self, idempotency_key: str | None, partitions: int) -> str:
        if idempotency_key is None:
            made = uuid.uuid4()
        else:
            digest = hashlib.sha256(f"{self._engine.machine.name}\n{idempotency_key}".encode()).digest()
            made = uuid.UUID(bytes=digest[:16], version=5)
        return align(
            f"{self._settings.saga_id_prefix}{made}",
            partitions=partitions,
            partitioners=self._settings.align_partitioners,
        )

    def _topics(self) -> Topics:
        if self._engine.topics is None:
            raise TransientError("the engine has not reached its log yet")
        return self._engine.topics
