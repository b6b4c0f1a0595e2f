"""Recognise the processes we started, so that nothing else is ever signalled.

A process id alone is not enough: after a crash or a reboot another process may carry it. Ours is the one with the same
id, the same start time, and our marker (the path of its configuration file) on its command line.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "stat").exists()
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process id together with the start time that makes it unique."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a living process; None when there is none, or only a zombie."""
    state_and_start = _read_proc(pid) if _HAS_PROC else _read_ps(pid)
    if state_and_start is None or (state_and_start[0].startswith(("Z", "X")) and not _has_other_threads(pid)):
        return None
    return ProcessIdentity(pid=pid, started=state_and_start[1])


def is_ours(identity: ProcessIdentity, marker: str) -> bool:
    """Tell whether this very process still lives and carries our marker on its command line."""
    return identify(identity.pid) == identity and marker in _command_line(identity.pid)


def is_paused(identity: ProcessIdentity) -> bool:
    """Tell whether the process is stopped by SIGSTOP."""
    state_and_start = _read_proc(identity.pid) if _HAS_PROC else _read_ps(identity.pid)
    return state_and_start is not None and state_and_start[0].startswith("T")


def send_signal(identity: ProcessIdentity, marker: str, number: signal.Signals) -> bool:
    """Signal the process if it is ours and alive; tell whether it was."""
    if not is_ours(identity, marker):
        return False
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(identity: ProcessIdentity, timeout_seconds: float) -> bool:
    """Wait until the process has ended; False when it still lives after the time."""
    deadline = time.monotonic() + timeout_seconds
    while identify(identity.pid) == identity:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _read_proc(pid: int) -> tuple[str, str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name in parentheses may hold anything, even a parenthesis
    return fields[0], fields[19]  # fields 3 (state) and 22 (start time in ticks since boot) of proc(5)


def _has_other_threads(pid: int) -> bool:
    # The first thread of a killed JVM is a zombie while the others still end; until then the ports are not free.
    try:
        return len(os.listdir(_PROC / str(pid) / "task")) > 1
    except OSError:
        return False


def _read_ps(pid: int) -> tuple[str, str] | None:
    line = _ps(pid, "stat=,lstart=").split(maxsplit=1)
    return (line[0], line[1].strip()) if len(line) == 2 else None


def _command_line(pid: int) -> str:
    if not _HAS_PROC:
        return _ps(pid, "command=")
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _ps(pid: int, columns: str) -> str:
    result = subprocess.run(
        ["ps", "-ww", "-o", columns, "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip()
