"""A command sender whose answers the test gives, and an observer that remembers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowmachine.core.definition import PayloadText
from flowmachine.core.phases import Phase
from flowmachine.errors import TransientError
from flowmachine.partition.plan import BatchPlan
from flowmachine.ports import NO_HEADERS


@dataclass(eq=False)
class Attempt:
    """One attempt to send, which waits for its answer."""

    saga_id: str
    label: str
    payload: PayloadText
    idempotency_key: str
    answer: asyncio.Future[None]
    headers: Mapping[str, str]

    def succeed(self) -> None:
        self.answer.set_result(None)

    def fail(self, reason: str = "answered 500") -> None:
        self.answer.set_exception(TransientError(reason))


class HeldSender:
    """Holds every attempt until the test answers it."""

    def __init__(self) -> None:
        self._attempts: asyncio.Queue[Attempt] = asyncio.Queue()
        self.cancelled = 0

    async def send(
        self,
        *,
        saga_id: str,
        label: str,
        payload: PayloadText,
        idempotency_key: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        answer = asyncio.get_running_loop().create_future()
        attempt = Attempt(saga_id, label, payload, idempotency_key, answer, headers)
        self._attempts.put_nowait(attempt)
        try:
            await attempt.answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def next_attempt(self) -> Attempt:
        """The next attempt, in the order in which they were made."""
        async with asyncio.timeout(5):
            return await self._attempts.get()

    async def is_quiet(self) -> bool:
        """Whether nothing is sent although everything that could run has run."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self._attempts.empty()


@dataclass
class RecordingObserver:
    """Remembers what became of commands."""

    commands: list[tuple[str, str]] = field(default_factory=list)
    outbox: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def command_sent(self, channel: str, outcome: str) -> None:
        self.commands.append((channel, outcome))

    def phase_changed(self, partition: int, phase: Phase) -> None: ...
    def committed(self, partition: int, plan: BatchPlan, seconds: float, at_ms: int) -> None: ...
    def transaction_failed(self, partition: int, code: str) -> None: ...
    def restored(self, partition: int, records: int, seconds: float) -> None: ...
    def sagas_counted(self, partition: int, by_state: Mapping[str, int], held_by_state: Mapping[str, int]) -> None: ...
    def lagged(self, partition: int, records: int) -> None: ...
    def outbox_counted(self, commands: Mapping[tuple[str, str], int]) -> None:
        self.outbox = commands


class Settled:
    """Takes what deliveries settle."""

    def __init__(self) -> None:
        self._settled: asyncio.Queue[tuple[str, str, str | None]] = asyncio.Queue()

    def __call__(self, saga_id: str, entry_id: str, failure: str | None) -> None:
        self._settled.put_nowait((saga_id, entry_id, failure))

    @property
    def is_empty(self) -> bool:
        return self._settled.empty()

    async def next(self) -> tuple[str, str, str | None]:
        """The next settled entry."""
        async with asyncio.timeout(5):
            return await self._settled.get()
