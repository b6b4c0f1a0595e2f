"""An engine in a process of its own, for tests that kill it and benchmarks that measure it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

START_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.05
_ROOT = Path(__file__).resolve().parent.parent


class EngineDiedError(RuntimeError):
    """The process ended when it should have run; the text has the end of its log."""


class EngineProcess:
    """`flowmachine run -f FILE` (or `project`) as a child. `url` is known once `start` has returned.

    `environment` is what it has besides ours.
    """

    def __init__(
        self,
        file: Path,
        *arguments: str,
        log_path: Path | None = None,
        command: str = "run",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.file = file
        self._environment = environment or {}
        self._command = [
            *(sys.executable, "-m", "flowmachine", command, "-f", str(file)),
            *("--http", "127.0.0.1:0", "--log-format", "json"),
            *arguments,
        ]
        self.log_path = log_path or file.with_name(f"{file.stem}-{os.getpid()}-{id(self):x}.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._log_start = 0
        self.url = ""

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._started().pid

    def start(self, *, is_ready: bool = True) -> "EngineProcess":
        """Start it, and wait until it listens, or until it is ready."""
        environment = os.environ | {"PYTHONPATH": f"{_ROOT / 'engine'}", "PYTHONUNBUFFERED": "1", **self._environment}
        self._log = self.log_path.open("ab")
        self._log_start = self._log.tell()
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log, env=environment)
        deadline = time.monotonic() + START_SECONDS_MAX
        self.url = ""
        while not self.url:
            self._require_alive()
            self.url = next((line["url"] for line in self.log_lines() if "url" in line), "")
            self._wait(deadline, "listen")
        while is_ready and not self.is_ready():
            self._require_alive()
            self._wait(deadline, "become ready")
        return self

    def is_ready(self) -> bool:
        """Whether `/-/ready` answers 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):  # noqa: S310 - our own child
                return True
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """kill -9."""
        process = self._started()
        process.send_signal(signal.SIGKILL)
        process.wait()
        self._close_log()

    def terminate(self, timeout_seconds: float = 30.0) -> int:
        """SIGTERM; returns the exit code."""
        process = self._started()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout_seconds)
        self._close_log()
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send any other signal."""
        self._started().send_signal(number)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._close_log()

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time that the child has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Memory that the child holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged since it was last started."""
        lines: list[dict[str, Any]] = []
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            for line in log:
                try:
                    decoded = json.loads(line)
                except ValueError:
                    continue
                if isinstance(decoded, dict):
                    lines.append(cast("dict[str, Any]", decoded))
        return lines

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise EngineDiedError("not started")
        return self._process

    def _require_alive(self) -> None:
        if self._started().poll() is not None:
            tail = self.log_path.read_text(errors="replace")[-3000:]
            raise EngineDiedError(f"the engine ended with code {self._started().returncode}:\n{tail}")

    def _wait(self, deadline: float, what: str) -> None:
        if time.monotonic() > deadline:
            tail = self.log_path.read_text(errors="replace")[-3000:]
            raise EngineDiedError(f"the engine did not {what} in {START_SECONDS_MAX:.0f} s:\n{tail}")
        time.sleep(_POLL_SECONDS)

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None
