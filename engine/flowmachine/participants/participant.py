"""A participant: commands in, events out, at least once.

A batch of commands is handled side by side, its events are appended, then the commands' offsets are committed. A crash
in between hands out the same commands again, so handlers must not mind doing a thing twice (the saga does not: it takes
an event once).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from flowmachine.wire.log import Headers, InputRecord
from flowmachine.wire.message import MalformedError, decode_message, encode_message
from flowmachine.wire.trace import trace_headers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Command:
    """What a saga asks for."""

    saga_id: str
    label: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """What a participant answers; the payload becomes part of the saga's metadata."""

    label: str
    payload: dict[str, Any] = field(default_factory=dict)


Handler = Callable[[Command], Awaitable[Event | None]]

Answer = tuple[bytes, bytes, Headers]
"""An event's key and value, and its command's place in a trace."""


class Session(Protocol):
    """A transport, connected."""

    async def fetch(self) -> Sequence[InputRecord]:
        """Wait for command records."""
        ...

    async def answer(self, events: Sequence[Answer]) -> None:
        """Append events, and return when they are safe."""
        ...

    async def commit(self) -> None:
        """Everything fetched so far has been answered."""
        ...


class Transport(Protocol):
    """Where commands come from and events go to."""

    def connect(self) -> AbstractAsyncContextManager[Session]:
        """Connect for the length of a block."""
        ...


class Participant:
    """A set of handlers by command label. Commands of other labels are somebody else's and are passed over."""

    def __init__(self, handlers: dict[str, Handler] | None = None) -> None:
        self._handlers = dict(handlers or {})

    def on(self, label: str) -> Callable[[Handler], Handler]:
        """Register the decorated coroutine function for commands of this label."""

        def register(handler: Handler) -> Handler:
            self._handlers[label] = handler
            return handler

        return register

    async def run(self, transport: Transport) -> None:
        """Until cancelled. A handler that raises leaves its command without an answer, and says so in the log."""
        async with transport.connect() as session:
            while True:
                records = await session.fetch()
                answers = await asyncio.gather(*(self._handle(record) for record in records))
                events = [answer for answer in answers if answer is not None]
                if events:
                    await session.answer(events)
                await session.commit()

    async def _handle(self, record: InputRecord) -> Answer | None:
        if not record.key:
            return None
        try:
            message = decode_message(record.value)
        except MalformedError as error:
            _log.warning("not a command", extra={"topic": record.topic, "offset": record.offset, "reason": str(error)})
            return None
        handler = self._handlers.get(message.message_label)
        if handler is None:
            return None
        command = Command(record.key.decode(), message.message_label, message.message_payload)
        try:
            event = await handler(command)
        except Exception:  # noqa: BLE001 - whatever a handler raises is its own affair: the other commands go on
            _log.exception("handler failed", extra={"saga_id": command.saga_id, "command": command.label})
            return None
        if event is None:
            return None
        return record.key, encode_message(event.label, event.payload), trace_headers(record.headers)
