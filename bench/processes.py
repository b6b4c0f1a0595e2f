"""What a process costs, from /proc, and the processes that this benchmark starts besides the engine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from bench.errors import RoundFailedError
from dev.addresses import find_free_ports

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05
_TAIL_CHARACTERS = 3000


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def child_environment() -> dict[str, str]:
    """The environment in which `python -m bench.…` and the engine are found."""
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "engine")))
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class Program(Protocol):
    """A program under test, as a child of this process. `dev.engine_process.EngineProcess` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        ...

    @property
    def log_path(self) -> Path:
        """What it says."""
        ...

    def terminate(self) -> int:
        """SIGTERM, and wait; returns the exit code."""
        ...

    def close(self) -> None:
        """Make sure that it is gone."""
        ...


def log_tail(path: Path) -> str:
    """The end of a log, for an error's text."""
    return path.read_text(errors="replace")[-_TAIL_CHARACTERS:] if path.exists() else ""


async def run_load(
    module: str, arguments: Mapping[str, object], *, seconds_max: float, until: Awaitable[object] | None = None
) -> dict[str, Any]:
    """Run `python -m MODULE` to its end; the JSON object that it prints. Raises RoundFailedError.

    Its standard input ends when `until` is done, from when on `seconds_max` count.
    """
    load = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *(f"--{name}={value}" for name, value in arguments.items())),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=child_environment(),
    )
    try:
        if until is not None:
            await until
        assert load.stdin is not None
        load.stdin.close()
        async with asyncio.timeout(seconds_max):
            output, errors = await load.communicate()
    except TimeoutError as error:
        raise RoundFailedError(f"{module} did not end within {seconds_max:.0f} s") from error
    finally:
        if load.returncode is None:
            load.kill()
            await load.wait()
    if load.returncode != 0:
        raise RoundFailedError(f"{module} failed:\n{errors.decode(errors='replace')[-_TAIL_CHARACTERS:]}")
    said: dict[str, Any] = json.loads(output)
    return said


@contextmanager
def open_service(module: str, **arguments: object) -> Generator[int]:
    """`python -m MODULE --port=…` as long as the block lasts; its port. Raises RoundFailedError."""
    (port,) = find_free_ports(1)
    with TemporaryDirectory(prefix="flowmachine-bench-") as folder:
        process = BenchProcess(module, {"port": port, **arguments}, Path(folder) / "service.log")
        try:
            process.start()
            yield port
        finally:
            process.close()


class BenchProcess:
    """`python -m MODULE` with these arguments, which says "ready"; `start` returns once it has."""

    def __init__(self, module: str, arguments: Mapping[str, object], log_path: Path) -> None:
        self._module = module
        self._command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in arguments.items())]
        self.log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises RoundFailedError."""
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=child_environment())
        deadline = time.monotonic() + _START_SECONDS_MAX
        while b"ready" not in self.log_path.read_bytes():
            if not self.is_running or time.monotonic() > deadline:
                raise RoundFailedError(f"{self._module} did not start:\n{log_tail(self.log_path)}")
            time.sleep(_POLL_SECONDS)

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(_STOP_SECONDS_MAX)

    def close(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
