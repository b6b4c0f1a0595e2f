"""Asks the store for sagas that the engine does not know. A store that is away keeps the asking waiting, nobody else.

What is asked for is not kept here: it stands in the changelog as awaited sagas, and is asked for again after a restart.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, InvariantError, TransientError
from flowmachine.ports import Refused, SagaStore, StoreObserver
from flowmachine.runtime.backoff import backoff
from flowmachine.runtime.projector import PAUSE_FIRST_SECONDS, PAUSE_SECONDS_MAX, Outage

BATCH_SAGAS_MAX: Final = 200
"""Sagas asked for in one call: one round trip for many, and an answer of a bearable size."""

Answer = Callable[[str, Saga | None, str], None]
"""(saga id, the saga or None, why there is none)."""

_log = logging.getLogger(__name__)


class ReadThrough:
    """All requests of a process. Owned by the event loop; only `run` waits."""

    def __init__(self, *, kind: str, store: SagaStore, observer: StoreObserver) -> None:
        self._kind = kind
        self._store = store
        self._outage = Outage(kind, observer)
        self._requests: dict[tuple[int, str], Answer] = {}
        self._wanted = asyncio.Event()

    @property
    def problem(self) -> str:
        """Why sagas cannot be read, or nothing."""
        return self._outage.problem

    def request(self, partition: int, saga_id: str, answer: Answer) -> None:
        """Have `answer` called once the store has told; asking again before that changes nothing."""
        self._requests.setdefault((partition, saga_id), answer)
        self._wanted.set()

    def release(self, partition: int) -> None:
        """The partition is no longer ours: its next owner asks."""
        self._requests = {key: answer for key, answer in self._requests.items() if key[0] != partition}

    async def run(self) -> None:
        """Until cancelled."""
        pauses = backoff(first_seconds=PAUSE_FIRST_SECONDS, seconds_max=PAUSE_SECONDS_MAX)
        while True:
            await self._wanted.wait()
            if await self._read_some():
                pauses = backoff(first_seconds=PAUSE_FIRST_SECONDS, seconds_max=PAUSE_SECONDS_MAX)
            else:
                await asyncio.sleep(next(pauses))
            if not self._requests:
                self._wanted.clear()

    async def _read_some(self) -> bool:
        """Whether the store has answered."""
        wanted = list(self._requests.items())[:BATCH_SAGAS_MAX]
        if not wanted:
            return True
        try:
            found = await self._store.read([saga_id for (_, saga_id), _ in wanted])
        except (TransientError, ConfigurationError) as error:
            self._outage.failed(error)
            return False
        except Exception as error:  # noqa: BLE001 - a bug must not make an event unmatched
            _log.exception("unexpected error of the store")
            self._outage.failed(InvariantError(f"unexpected {type(error).__name__}"))
            return False
        self._outage.worked()
        for key, answer in wanted:
            if self._requests.pop(key, None) is None:
                continue  # released meanwhile
            saga = found.get(key[1])
            if isinstance(saga, Refused):
                answer(key[1], None, saga.reason)
            else:
                answer(key[1], saga, f"no saga {key[1]!r}, in the {self._kind} store neither")
        return True
