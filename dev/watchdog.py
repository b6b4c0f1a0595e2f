"""Ends what a test run left that was killed before it could: `start_watchdog("dev.kafka.watchdog", DATA_DIR, ...)`.

The module that is named runs `guard` in a process of its own. The run holds the other end of its standard input. The
kernel closes it however the run ends; then what still lives is ended, and a temporary folder removed. After an orderly
end there is nothing left to do.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

KILL_SECONDS_MAX: Final = 10.0
_ROOT: Final = Path(__file__).parents[1]


def start_watchdog(module: str, data_dir: Path, *, removes_data: bool) -> subprocess.Popen[bytes]:
    """Start the watchdog; closing its standard input ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", module, str(data_dir), *(["remove"] if removes_data else [])],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def guard(end_programs: Callable[[Path], None]) -> None:
    """Wait for the end of the parent, then clean up."""
    data_dir = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_programs(data_dir)
    if "remove" in sys.argv[2:]:
        shutil.rmtree(data_dir, ignore_errors=True)
