"""state.json: what the cluster of a data folder is and which processes it consists of.

Written by one atomic replacement after every change, so that `down` and the watchdog always find the whole truth.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.errors import ClusterStateError
from dev.kafka.settings import ClusterSettings
from dev.processes import ProcessIdentity
from dev.state_file import read_state, state_path, write_state

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything needed to find a cluster again."""

    settings: ClusterSettings
    cluster_id: str
    ports: dict[int, dict[str, int]]
    processes: dict[int, ProcessIdentity]


def save_state(data_dir: Path, state: ClusterState) -> None:
    """Replace the state of a data folder."""
    plain: dict[str, Any] = {
        "format": _FORMAT,
        "settings": state.settings.to_json(),
        "cluster_id": state.cluster_id,
        "ports": {str(node_id): ports for node_id, ports in state.ports.items()},
        "processes": {
            str(node_id): {"pid": identity.pid, "started": identity.started}
            for node_id, identity in state.processes.items()
        },
    }
    write_state(data_dir, plain)


def load_state(data_dir: Path) -> ClusterState | None:
    """Return the state of a data folder; None when it holds no cluster."""
    plain = read_state(data_dir)
    if plain is None:
        return None
    if plain.get("format") != _FORMAT:
        path = state_path(data_dir)
        message = f"{path} was written by another version of these tools; end its brokers by hand, delete {data_dir}."
        raise ClusterStateError(message)
    return ClusterState(
        settings=ClusterSettings.from_json(plain["settings"]),
        cluster_id=plain["cluster_id"],
        ports={int(node_id): ports for node_id, ports in plain["ports"].items()},
        processes={int(node_id): ProcessIdentity(**identity) for node_id, identity in plain["processes"].items()},
    )
