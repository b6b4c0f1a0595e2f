"""state.json: what the cluster of a data folder is and which processes it consists of.

Written by one atomic replacement after every change, so that `down` and the watchdog always find the whole truth.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.kafka.errors import ClusterStateError
from dev.kafka.processes import ProcessIdentity
from dev.kafka.settings import ClusterSettings

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything needed to find a cluster again."""

    settings: ClusterSettings
    cluster_id: str
    ports: dict[int, dict[str, int]]
    processes: dict[int, ProcessIdentity]


def state_path(data_dir: Path) -> Path:
    """Return where the state of a data folder lies."""
    return data_dir / "state.json"


def save_state(data_dir: Path, state: ClusterState) -> None:
    """Replace the state of a data folder."""
    plain = {
        "format": _FORMAT,
        "settings": state.settings.to_json(),
        "cluster_id": state.cluster_id,
        "ports": {str(node_id): ports for node_id, ports in state.ports.items()},
        "processes": {
            str(node_id): {"pid": identity.pid, "started": identity.started}
            for node_id, identity in state.processes.items()
        },
    }
    target = state_path(data_dir)
    temporary = target.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def load_state(data_dir: Path) -> ClusterState | None:
    """Return the state of a data folder; None when it holds no cluster."""
    path = state_path(data_dir)
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        message = f"{path} is not readable ({error}); end its brokers by hand and delete {data_dir}."
        raise ClusterStateError(message) from error
    if plain.get("format") != _FORMAT:
        message = (
            f"{path} was written by another version of these tools; end its brokers by hand and delete {data_dir}."
        )
        raise ClusterStateError(message)
    return ClusterState(
        settings=ClusterSettings.from_json(plain["settings"]),
        cluster_id=plain["cluster_id"],
        ports={int(node_id): ports for node_id, ports in plain["ports"].items()},
        processes={int(node_id): ProcessIdentity(**identity) for node_id, identity in plain["processes"].items()},
    )
