"""The network between one engine and everything else: latency, lost requests, lost answers, cuts.

A request that has left arrives, whatever becomes of its sender: its way belongs to nobody.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypeVar

from flowmachine.errors import FencedError, TransientError
from tests.simulation.history import History
from tests.simulation.loop import NOBODY

_T = TypeVar("_T")

ANSWER_SECONDS = 5.0
"""How long a client waits for an answer before it gives up, not knowing what became of its request."""


class Network:
    """What one engine sees of the network. Without faults, answers take up to `latency_seconds` each way."""

    def __init__(self, name: str, random: Random, history: History, *, latency_seconds: float = 0.004) -> None:
        self.name = name
        self.latency_seconds = self._usual_latency_seconds = latency_seconds
        self.lost_requests = 0.0
        self.lost_answers = 0.0
        self.refused = 0.0
        """Requests that the other side turns down without having done anything: leader moved, not enough replicas."""
        self.is_cut = False
        self._random = random
        self._history = history

    def heal(self) -> None:
        """No faults from now on."""
        self.latency_seconds = self._usual_latency_seconds
        self.lost_requests = self.lost_answers = self.refused = 0.0
        self.is_cut = False

    async def request(self, what: str, execute: Callable[[], _T], *, takes_seconds: float = 0.0) -> _T:
        """Have the other side execute something. TransientError: no answer, it may have happened or not.

        What takes longer than `ANSWER_SECONDS` happens after its client has given up.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        seconds = self._draw_latency() + takes_seconds
        loop.call_later(seconds, self._arrive, what, execute, answer, context=NOBODY)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise TransientError(f"no answer to {what!r}") from None

    def _arrive(self, what: str, execute: Callable[[], _T], answer: asyncio.Future[_T]) -> None:
        draw = self._random.random
        if self.is_cut or draw() < self.lost_requests:
            self._history.note(self.name, f"{what}: lost on the way")
            return
        result: _T | None = None
        error: Exception | None = None
        if self.refused and draw() < self.refused:
            self._history.note(self.name, f"{what}: refused")
            error = TransientError(f"{what!r} was refused")
        else:
            try:
                result = execute()
            except (TransientError, FencedError) as raised:
                self._history.note(self.name, f"{what}: {raised}")
                error = raised
        if self.is_cut or draw() < self.lost_answers:
            self._history.note(self.name, f"{what}: done, its answer is lost")
            return
        asyncio.get_running_loop().call_later(self._draw_latency(), _settle, answer, result, error, context=NOBODY)

    def _draw_latency(self) -> float:
        """In whole milliseconds, so that there are ties."""
        return self._random.randint(0, int(self.latency_seconds * 1000)) / 1000


def _settle(answer: asyncio.Future[_T], result: _T, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
