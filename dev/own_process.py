"""A long-running process that this run or an earlier one started: its start, signals, and why it ended."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

from dev.cache import cache_root
from dev.errors import ProgramFailedError
from dev.processes import ProcessIdentity, identify, is_ours, send_signal, wait_until_gone

_KILL_SECONDS_MAX: Final = 10.0  # after SIGKILL only the kernel's own work is left
_LOG_TAIL_BYTES: Final = 16_384
_LOG_TAIL_LINES: Final = 12


class OwnProcess:
    """A process, running or not, that is known as ours by its identity and the marker on its command line."""

    causes: ClassVar[Sequence[tuple[str, str]]] = ()
    """What it writes before it ends, in any case -> the sentence that explains it, with {folder} and {cache}."""

    def __init__(self, name: str, *, marker: str, log: Path, identity: ProcessIdentity | None) -> None:
        """`log` holds everything that it says, over all its starts; its folder is where the process runs.

        `identity` is its process from an earlier start, if any.
        """
        self.name = name
        self.marker = marker
        self.log = log
        self.identity = identity
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """Where it runs."""
        return self.log.parent

    def is_running(self) -> bool:
        """Tell whether the process lives, paused or not."""
        # Our own child needs no recognition, and for a moment after its start has no command line to recognise.
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._process = None
        return self.identity is not None and is_ours(self.identity, self.marker)

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process in a session of its own, so that Ctrl-C in the terminal does not reach it."""
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.identity = identify(self._process.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is ours and alive."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        elif self.identity is not None:
            send_signal(self.identity, self.marker, number)

    def terminate(self) -> None:
        """Ask the process to shut down in order; a paused one is woken for it."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if not self.wait_ended(_KILL_SECONDS_MAX):
            message = f"Process {self.identity} of {self.name} does not end even after SIGKILL."
            raise ProgramFailedError(message)

    def wait_ended(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; False when it still lives."""
        has_ended = self.identity is None or wait_until_gone(self.identity, timeout_seconds)
        if has_ended:
            self.is_running()
            self.identity = None
        return has_ended

    def explain(self, text: str) -> str:
        """Return the sentence for the first known cause in what it wrote; empty when none is known."""
        known = (sentence for sign, sentence in self.causes if sign.lower() in text.lower())
        return next(known, "").format(folder=self.folder, cache=cache_root())

    def explain_end(self) -> str:
        """Say why the process ended, from what it wrote last."""
        tail = self._read_tail()
        lines = "\n  ".join(tail.splitlines()[-_LOG_TAIL_LINES:]) or "(it wrote nothing)"
        return f"{self.explain(tail)}\nEnd of {self.log}:\n  {lines}"

    def _read_tail(self) -> str:
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(self.log.stat().st_size - _LOG_TAIL_BYTES, 0))
                return stream.read().decode(errors="replace")
        except OSError:
            return ""
