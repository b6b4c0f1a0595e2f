"""Ends the programs of a test run that was killed before it could: `python -m dev.cluster.watchdog DATA_DIR [remove]`.

The run holds the other end of our standard input. The kernel closes it however the run ends; then we kill what the
state file names, if it is still ours, and remove a temporary folder. After an orderly end there is nothing left to do.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from dev.cluster.component import marker_of
from dev.cluster.settings import Layout
from dev.cluster.state import load_state
from dev.cluster.sweep import sweep_node
from dev.kafka.processes import send_signal, wait_until_gone

_ROOT = Path(__file__).parents[2]
_KILL_SECONDS_MAX = 10.0


def start_watchdog(data_dir: Path, *, removes_data: bool) -> subprocess.Popen[bytes]:
    """Start the watchdog; closing its standard input ends it."""
    arguments = [str(data_dir), *(["remove"] if removes_data else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "dev.cluster.watchdog", *arguments],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def end_programs(data_dir: Path) -> None:
    """Kill every program of the data folder that still lives."""
    state = load_state(data_dir)
    if state is None:
        return
    for name, identity in state.processes.items():
        if send_signal(identity, marker_of(data_dir / name), signal.SIGKILL):
            wait_until_gone(identity, _KILL_SECONDS_MAX)
    if state.settings.node:
        sweep_node(Layout(data_dir, state.ports, has_node=True))


def main() -> None:
    """Wait for the end of the parent, then clean up."""
    data_dir = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_programs(data_dir)
    if "remove" in sys.argv[2:]:
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
