"""A server of a test's own: a context manager around one program, which ends with the process that started it."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from dev.addresses import find_free_ports
from dev.errors import ProgramFailedError
from dev.started import Started

_POLL_SECONDS: Final = 0.05
_LOG_TAIL_CHARACTERS: Final = 2000
_PR_SET_PDEATHSIG: Final = 1


class Server(Started):
    """One program with a free port of the loopback address and a temporary folder, both its own while it lives."""

    name: ClassVar[str]
    start_seconds_max: ClassVar[float] = 60.0

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"flowmachine-{self.name.lower()}-"))
        self.process: subprocess.Popen[bytes] | None = None
        (self.port,) = find_free_ports(1)

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether clients can be served now."""

    def user(self) -> str | None:
        """The system's user as whom it runs; None: the one who runs us."""
        return None

    def environment(self) -> dict[str, str]:
        """What it has in its environment besides ours."""
        return {}

    @property
    def log(self) -> Path:
        """All it says."""
        return self.folder / "log"

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers. Raises ProgramFailedError."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.command(),
                stdout=stream,
                stderr=stream,
                env=os.environ | self.environment(),
                user=self.user(),
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + self.start_seconds_max
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text("utf-8", "replace")[-_LOG_TAIL_CHARACTERS:]
                raise ProgramFailedError(f"{self.name} did not start:\n{text}")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """SIGKILL; `start` brings it back with what it kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
