"""package-lock.json -> `node_modules` in a folder of the user's cache, named by the digest of the lock."""

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from dev.cache import cache_root, make_once
from dev.errors import ProvisionError, ToolMissingError

_FOLDER: Final = Path(__file__).parent
_FILES: Final = ("package.json", "package-lock.json")
_NPM_SECONDS_MAX: Final = 300


def find_node() -> str:
    """The path of `node`. Raises ToolMissingError."""
    return _find("node")


def provision() -> Path:
    """The folder that holds `node_modules`. Raises ToolMissingError, ProvisionError."""
    digest = hashlib.sha256((_FOLDER / "package-lock.json").read_bytes()).hexdigest()[:8]
    return make_once(cache_root() / f"node-{digest}", _install)


def _install(target: Path) -> None:
    npm = _find("npm")
    target.mkdir()
    for name in _FILES:
        shutil.copy(_FOLDER / name, target)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        result = subprocess.run(
            command, cwd=target, capture_output=True, text=True, check=False, timeout=_NPM_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise ProvisionError(f"npm did not finish within {_NPM_SECONDS_MAX} s.") from error
    if result.returncode != 0:
        end = result.stderr[-500:]
        raise ProvisionError(f"npm could not fetch the packages (exit code {result.returncode}): {end}")


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ToolMissingError(f"No `{program}` on PATH: install Node.js 18 or newer (Debian: apt install nodejs npm).")
    return path
