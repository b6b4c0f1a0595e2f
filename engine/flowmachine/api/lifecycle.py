"""Where the process is in its life, as far as the HTTP API must know: it drains, or its engine has ended.

    running ──► draining ──► ended        (asked to stop)
       └────────────────────► ended        (a bug of ours, or the log is lost for good)

Draining: probes still say that the process is healthy, new sagas and events are turned away. Ended: the process is of
no use any more, so `/-/healthz` asks Kubernetes to start it again.
"""

import asyncio


class Lifecycle:
    """Told by whoever runs the engine, asked by the routes."""

    def __init__(self) -> None:
        self._run: asyncio.Task[None] | None = None
        self._is_draining = False

    def watch(self, run: asyncio.Task[None]) -> None:
        """`run` is the task of the engine's `run()`."""
        self._run = run

    def drain(self) -> None:
        """From now on turn new work away."""
        self._is_draining = True

    @property
    def is_draining(self) -> bool:
        """Whether new work is turned away."""
        return self._is_draining

    @property
    def ending(self) -> str | None:
        """In one sentence, how the engine has ended; None while it runs, or has not been started yet."""
        if self._run is None or not self._run.done():
            return None
        if self._run.cancelled():
            return "the engine was cancelled"
        error = self._run.exception()
        return "the engine has stopped" if error is None else f"the engine has crashed: {type(error).__name__}"
