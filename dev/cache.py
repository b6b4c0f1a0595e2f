"""The cache folder of the contributors' tools: what is fetched or built once, and locks between runs."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

Report = Callable[[str], None]


def report_nothing(_line: str) -> None:
    """Drop progress lines."""


def cache_root() -> Path:
    """Return the cache folder of FlowMachine's development tools."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flowmachine"


@contextmanager
def locked(path: Path) -> Generator[None, None, None]:
    """Hold an exclusive lock on the file; a second run waits, and the lock ends with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def make_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return a file or folder of the cache, which `make` writes, under the path that it is given, unless it is there.

    It appears by one rename, so that it is complete whenever it exists. A second run at the same time waits.
    """
    if path.exists():
        return path
    with locked(path.with_name(f"{path.name}.lock")):
        for left_over in path.parent.glob(f"{path.name}.tmp-*"):  # of a run that was killed; we hold the lock
            shutil.rmtree(left_over, ignore_errors=True)
        if not path.exists():
            with tempfile.TemporaryDirectory(prefix=f"{path.name}.tmp-", dir=path.parent) as folder:
                made = Path(folder) / path.name
                make(made)
                made.rename(path)
    return path
