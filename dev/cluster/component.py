"""One program of the cluster: its start, signals, and why it ended.

Its folder is on its command line and is the marker by which we know it as ours; NAME.log in it holds all it says.
"""

import os
import signal
import subprocess
from pathlib import Path

from dev.cluster.errors import ComponentFailedError
from dev.images.packages import SYSTEM_PATH
from dev.kafka.processes import ProcessIdentity, identify, is_ours, send_signal, wait_until_gone

_KILL_SECONDS_MAX = 10.0  # after SIGKILL only the kernel's own work is left
_LOG_TAIL_BYTES = 16_384
_LOG_TAIL_LINES = 12

_KNOWN_CAUSES = (
    ("no space left on device", "The disk that holds {folder} is full."),
    ("address already in use", "Another process took its port meanwhile; try again."),
    ("unknown flag", "It does not know one of the given flags."),
    ("permission denied", "A file of {folder} may not be read or written."),
)


class Component:
    """One program of a cluster, running or not."""

    def __init__(self, name: str, folder: Path, identity: ProcessIdentity | None) -> None:
        """Describe a program; `identity` is its process from an earlier start, if any."""
        self.name = name
        self.folder = folder
        self.identity = identity
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Everything the process said, over all its starts."""
        return self.folder / f"{self.name}.log"

    def is_running(self) -> bool:
        """Tell whether the process lives."""
        # Our own child needs no recognition, and for a moment after its start has no command line to recognise.
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._process = None
        return self.identity is not None and is_ours(self.identity, marker_of(self.folder))

    def spawn(self, program: str, arguments: list[str]) -> None:
        """Start the process in a session of its own, so that Ctrl-C in the terminal does not reach it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        environment["PATH"] = f"{environment.get('PATH', '')}:{SYSTEM_PATH}"  # kubelet and containerd call others
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.identity = identify(self._process.pid)

    def terminate(self) -> None:
        """Ask the process to shut down in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, as a crash would, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if not self.wait_ended(_KILL_SECONDS_MAX):
            message = f"Process {self.identity} of {self.name} does not end even after SIGKILL."
            raise ComponentFailedError(message)

    def wait_ended(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; False when it still lives."""
        has_ended = self.identity is None or wait_until_gone(self.identity, timeout_seconds)
        if has_ended:
            self.is_running()
            self.identity = None
        return has_ended

    def explain_end(self) -> str:
        """Say why the process ended, from what it wrote last."""
        tail = self._read_tail()
        lines = "\n  ".join(tail.splitlines()[-_LOG_TAIL_LINES:]) or "(it wrote nothing)"
        cause = next((sentence for sign, sentence in _KNOWN_CAUSES if sign in tail.lower()), "")
        return f"{cause.format(folder=self.folder)}\nEnd of {self.log}:\n  {lines}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
        elif self.identity is not None:
            send_signal(self.identity, marker_of(self.folder), number)

    def _read_tail(self) -> str:
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(self.log.stat().st_size - _LOG_TAIL_BYTES, 0))
                return stream.read().decode(errors="replace")
        except OSError:
            return ""


def marker_of(folder: Path) -> str:
    """Return the text on the command line that makes a process the one of this folder."""
    return f"{folder}/"
