"""state.json of a data folder: written by one atomic replacement, so that a reader always finds the whole truth."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.errors import ClusterStateError


def state_path(data_dir: Path) -> Path:
    """Return where the state of a data folder lies."""
    return data_dir / "state.json"


def write_state(data_dir: Path, plain: Mapping[str, Any]) -> None:
    """Replace the state of a data folder. Raises OSError, and what was there stays."""
    target = state_path(data_dir)
    temporary = target.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_state(data_dir: Path) -> dict[str, Any] | None:
    """Return the state of a data folder; None when it holds none. Raises ClusterStateError when it is not JSON."""
    path = state_path(data_dir)
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        message = f"{path} is not readable ({error}); end its programs by hand and delete {data_dir}."
        raise ClusterStateError(message) from error
    return plain
