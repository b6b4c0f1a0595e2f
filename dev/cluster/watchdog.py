"""Ends the programs of a test run that was killed: `python -m dev.cluster.watchdog DATA_DIR [remove]`."""

import signal
from pathlib import Path

from dev.cluster.component import marker_of
from dev.cluster.settings import Layout
from dev.cluster.state import load_state
from dev.cluster.sweep import sweep_node
from dev.processes import send_signal, wait_until_gone
from dev.watchdog import KILL_SECONDS_MAX, guard


def end_programs(data_dir: Path) -> None:
    """Kill every program of the data folder that still lives."""
    state = load_state(data_dir)
    if state is None:
        return
    for name, identity in state.processes.items():
        if send_signal(identity, marker_of(data_dir / name), signal.SIGKILL):
            wait_until_gone(identity, KILL_SECONDS_MAX)
    if state.settings.node:
        sweep_node(Layout(data_dir, state.ports, has_node=True))


if __name__ == "__main__":
    guard(end_programs)
