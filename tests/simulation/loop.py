"""An event loop whose clock and order come from a seed, and the processes that live and die on it.

The clock stands still while something can run, then jumps to the next timer: a minute costs milliseconds. Callbacks run
in the order in which they were added, as asyncio promises; timers that are due at the same moment in an order that the
seed draws, as nobody promises that.

A process is a context: all that is started inside `Process.run` belongs to it, with the tasks that this starts in turn.
A dead one's callbacks do not run, wherever it stood: no `finally` either, as after kill -9. A paused one's run when it
goes on, as after SIGSTOP and SIGCONT.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

EPOCH_MS = 1_760_000_000_000
"""The wall clock's time when a simulation begins."""


class Process:
    """An operating system's process, as far as the loop is concerned."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.is_paused = False
        self.crash_after: int | None = None
        """Steps until it dies; a step is what runs between two awaits."""
        self.on_crash: Callable[[], None] = lambda: None
        self.parked: list[asyncio.Handle] = []
        """What would have run. Of the dead, too: their tasks need it when they are cleaned up in the end."""

    def spawn(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that belongs to the process."""
        context = copy_context()
        context.run(_process.set, self)
        return loop.create_task(coroutine, context=context)

    def kill(self) -> None:
        """Let nothing of it run any more."""
        self.is_dead = True
        self.crash_after = None


_process: ContextVar[Process | None] = ContextVar("process", default=None)
NOBODY = Context()
"""The context of what belongs to no process: brokers, networks, the driver of faults."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """`asyncio.BaseEventLoop` without a selector: nothing from outside can wake it."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.now = 0.0
        self.is_over = False
        """True: whoever is left is asked to clean up, the dead as well."""

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self.now

    def wall_ms(self) -> int:
        """The true time; processes may see another one."""
        return EPOCH_MS + int(self.now * 1000)

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    def _run_once(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            self._take_due(ready)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_process)
            if process is None or self.is_over or self._may_run(process, handle):
                handle._run()

    def _take_due(self, ready: Any) -> None:
        scheduled: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        due: list[asyncio.TimerHandle] = []
        while scheduled and (not due or scheduled[0]._when <= self.now):  # type: ignore[attr-defined]
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            if handle._cancelled:  # type: ignore[attr-defined]
                continue
            self.now = max(self.now, handle._when)  # type: ignore[attr-defined]
            due.append(handle)
        assert due, "the simulation has come to a standstill: nothing runs and nothing is scheduled"
        if len(due) > 1:
            self.random.shuffle(due)
        ready.extend(due)

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if process.is_dead or process.is_paused:
            process.parked.append(handle)
            return False
        if process.crash_after is not None:
            process.crash_after -= 1
            if process.crash_after < 0:
                process.kill()
                process.parked.append(handle)
                self.call_soon(process.on_crash, context=NOBODY)
                return False
        return True

    def resume(self, process: Process) -> None:
        """Let a process go on with all that has become due meanwhile."""
        process.is_paused = False
        parked, process.parked = process.parked, []
        self._ready.extend(parked)  # type: ignore[attr-defined]
