"""One engine per file: an exclusive `flock` on `<path>.lock`; the kernel drops it however the process dies.

The lock file stays (removing it would race with the next engine) and names the process that holds it.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from flowmachine.errors import ConfigurationError


class EngineLock:
    """The right to run an engine on a file."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Hold the lock from now on. Raises ConfigurationError: another engine has it, the folder is not writable."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigurationError.of(
                str(self._path),
                "log-not-accessible",
                f"cannot be opened ({error.strerror}): check that the folder exists and that this user may write it.",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ConfigurationError.of(
                str(self._path),
                "log-locked",
                f"another engine (process {holder or 'unknown'}) runs on this file: stop it first, or give this one a "
                "file of its own. One file serves one engine; for several, use Kafka.",
            ) from error
        with contextlib.suppress(
            OSError
        ):  # a full disk must not keep the engine from starting; the number only informs
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; without effect if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
