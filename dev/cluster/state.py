"""state.json: what the cluster of a data folder is and which processes it consists of.

Written by one atomic replacement after every change, so that `down` and the watchdog always find the whole truth.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster.errors import ClusterStateError
from dev.cluster.settings import ClusterSettings
from dev.kafka.processes import ProcessIdentity

_FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """Everything needed to find a cluster again."""

    settings: ClusterSettings
    ports: dict[str, int]
    processes: dict[str, ProcessIdentity]


def state_path(data_dir: Path) -> Path:
    """Return where the state of a data folder lies."""
    return data_dir / "state.json"


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
    target = state_path(data_dir)
    temporary = target.with_suffix(".tmp")
    temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, target)


def load_state(data_dir: Path) -> ClusterState | None:
    """Return the state of a data folder; None when it holds no cluster."""
    path = state_path(data_dir)
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        message = f"{path} is not readable ({error}); end its programs by hand and delete {data_dir}."
        raise ClusterStateError(message) from error
    if plain.get("format") != _FORMAT or "kube-apiserver" not in plain.get("ports", {}):
        message = f"{path} was written by other tools than these; name another folder with --data-dir."
        raise ClusterStateError(message)
    return ClusterState(
        settings=ClusterSettings.from_json(plain["settings"]),
        ports=plain["ports"],
        processes={name: ProcessIdentity(**identity) for name, identity in plain["processes"].items()},
    )
