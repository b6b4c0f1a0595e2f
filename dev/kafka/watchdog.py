"""Ends the brokers of a test run that was killed: `python -m dev.kafka.watchdog DATA_DIR [remove]`."""

import signal
from pathlib import Path

from dev.kafka.broker import marker_of
from dev.kafka.state import load_state
from dev.processes import send_signal, wait_until_gone
from dev.watchdog import KILL_SECONDS_MAX, guard


def end_brokers(data_dir: Path) -> None:
    """Kill every broker of the data folder that still lives."""
    state = load_state(data_dir)
    if state is None:
        return
    for node_id, identity in state.processes.items():
        if send_signal(identity, marker_of(data_dir / f"node-{node_id}"), signal.SIGKILL):
            wait_until_gone(identity, KILL_SECONDS_MAX)


if __name__ == "__main__":
    guard(end_brokers)
