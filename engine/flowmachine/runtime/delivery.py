"""Commands over HTTP: what the sagas' outboxes ask for, sent until a 2xx arrives.

An outbox is durable, this is not: what was under way when the process died is sent again, with the same idempotency
key. Commands of one saga go out one after the other, as they would through a topic; side commands go at once. A dead
endpoint holds back its own commands only.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowmachine.core.saga import OutboxEntry
from flowmachine.errors import TransientError
from flowmachine.ports import NO_HEADERS, CommandSender, Observer, Tracer
from flowmachine.runtime.backoff import backoff

Settle = Callable[[str, str, str | None], None]
"""(saga id, outbox entry id, failure or None for delivered)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How often to try: with pauses from 0.2 s doubling to 30 s, 50 attempts take about 22 minutes."""

    attempts_max: int = 50
    side_attempts_max: int = 5
    pause_first_seconds: float = 0.2
    pause_seconds_max: float = 30.0


@dataclass(frozen=True, slots=True)
class _Outbox:
    """What is known of one saga's outbox: the attempts under way by entry, and what each command waits for."""

    under_way: Mapping[str, asyncio.Task[None]]
    waiting: tuple[tuple[str, str], ...]


_EMPTY = _Outbox({}, ())


class Delivery:
    """All deliveries of a process. Owned by the event loop; no method waits."""

    def __init__(
        self,
        senders: Mapping[str, CommandSender],
        settings: DeliverySettings,
        observer: Observer,
        tracer: Tracer | None = None,
    ) -> None:
        self._senders = senders
        self._tracer = tracer
        self._settings = settings
        self._observer = observer
        self._outboxes: dict[int, dict[str, _Outbox]] = {}
        self._waiting: Counter[tuple[str, str]] = Counter()
        observer.outbox_counted(self._waiting)

    @property
    def in_flight(self) -> int:
        """Commands that wait for a 2xx."""
        return sum(
            not task.done()
            for sagas in self._outboxes.values()
            for known in sagas.values()
            for task in known.under_way.values()
        )

    def update(self, partition: int, saga_id: str, outbox: tuple[OutboxEntry, ...], settle: Settle) -> None:
        """A saga's outbox is this now: forget what is settled, start what is due and not under way."""
        sagas = self._outboxes.setdefault(partition, {})
        before = sagas.pop(saga_id, _EMPTY)
        under_way = {entry.id: before.under_way[entry.id] for entry in outbox if entry.id in before.under_way}
        is_main_due = True
        for entry in outbox:
            if entry.failure is not None or not (entry.is_side_command or is_main_due):
                continue
            if entry.id not in under_way:
                under_way[entry.id] = asyncio.create_task(self._deliver(saga_id, entry, settle))
            if not entry.is_side_command:
                is_main_due = False
        waiting = tuple((entry.channel, "answer" if entry.failure is None else "person") for entry in outbox)
        self._waiting.subtract(before.waiting)
        self._waiting.update(waiting)
        if outbox:
            sagas[saga_id] = _Outbox(under_way, waiting)

    def release(self, partition: int) -> None:
        """The partition is no longer ours: its next owner delivers."""
        for known in self._outboxes.pop(partition, {}).values():
            self._waiting.subtract(known.waiting)
            for task in known.under_way.values():
                task.cancel()

    async def _deliver(self, saga_id: str, entry: OutboxEntry, settle: Settle) -> None:
        settings = self._settings
        attempts_max = settings.side_attempts_max if entry.is_side_command else settings.attempts_max
        if entry.channel not in self._senders:
            attempts_max = 1  # a machine without the channel does not get it by waiting
        pauses = backoff(first_seconds=settings.pause_first_seconds, seconds_max=settings.pause_seconds_max)
        for attempt in range(1, attempts_max + 1):
            reason = await self._attempt(saga_id, entry, attempt)
            if reason is None:
                self._observer.command_sent(entry.channel, "delivered")
                settle(saga_id, entry.id, None)
                return
            if attempt == attempts_max:
                self._observer.command_sent(entry.channel, "dropped" if entry.is_side_command else "failed")
                _log.error(
                    "command not delivered, all attempts are used up",
                    extra={"saga_id": saga_id, "command": entry.label, "channel": entry.channel, "reason": reason},
                )
                settle(saga_id, entry.id, reason)
                return
            self._observer.command_sent(entry.channel, "retried")
            await asyncio.sleep(next(pauses))

    async def _attempt(self, saga_id: str, entry: OutboxEntry, attempt: int) -> str | None:
        """Try once; why it failed, or None."""
        sender = self._senders.get(entry.channel)
        if sender is None:
            return "its channel is not in this machine"
        if self._tracer is None:
            return await self._send(sender, saga_id, entry, NO_HEADERS)
        span = self._tracer.start_delivery(saga_id, entry, attempt)
        failure = await self._send(sender, saga_id, entry, span.headers)
        span.end(failure)
        return failure

    async def _send(
        self, sender: CommandSender, saga_id: str, entry: OutboxEntry, headers: Mapping[str, str]
    ) -> str | None:
        key = f"{saga_id}:{entry.id}"
        try:
            await sender.send(
                saga_id=saga_id, label=entry.label, payload=entry.payload, idempotency_key=key, headers=headers
            )
        except TransientError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a bug of ours is a failed attempt: the command must not be forgotten
            _log.exception("unexpected error", extra={"saga_id": saga_id, "channel": entry.channel})
            return f"unexpected {type(error).__name__}"
        return None
