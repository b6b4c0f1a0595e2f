"""state.json: what the cluster of a data folder is and which processes it consists of.

Written by one atomic replacement after every change, so that `down` and the watchdog always find the whole truth.
"""

from dataclasses import dataclass
from pathlib import Path

from dev.cluster.settings import ClusterSettings
from dev.errors import ClusterStateError
from dev.processes import ProcessIdentity
from dev.state_file import read_state, state_path, write_state

_FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything needed to find a cluster again."""

    settings: ClusterSettings
    ports: dict[str, int]
    processes: dict[str, ProcessIdentity]


def save_state(data_dir: Path, state: ClusterState) -> None:
    """Replace the state of a data folder."""
    plain = {
        "format": _FORMAT,
        "settings": state.settings.to_json(),
        "ports": state.ports,
        "processes": {
            name: {"pid": identity.pid, "started": identity.started} for name, identity in state.processes.items()
        },
    }
    write_state(data_dir, plain)


def load_state(data_dir: Path) -> ClusterState | None:
    """Return the state of a data folder; None when it holds no cluster."""
    plain = read_state(data_dir)
    if plain is None:
        return None
    if plain.get("format") != _FORMAT or "kube-apiserver" not in plain.get("ports", {}):
        message = f"{state_path(data_dir)} was written by other tools than these; name another folder with --data-dir."
        raise ClusterStateError(message)
    return ClusterState(
        settings=ClusterSettings.from_json(plain["settings"]),
        ports=plain["ports"],
        processes={name: ProcessIdentity(**identity) for name, identity in plain["processes"].items()},
    )
