"""package-lock.json -> a folder `node_modules` in the user's cache folder, by npm.

The folder's name carries a digest of the lock file. It appears by one rename, so it is complete whenever it exists; a
run that finds it does nothing, and a second run at the same time waits for the first.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from dev.kafka.addresses import locked
from dev.kafka.provision import cache_root

_FOLDER: Final = Path(__file__).parent
_FILES: Final = ("package.json", "package-lock.json")
_NPM_SECONDS_MAX: Final = 300


class NodeMissingError(Exception):
    """`node` or `npm` is not installed."""


class NpmError(Exception):
    """npm could not deliver the packages."""


def find_node() -> str:
    """The path of `node`. Raises NodeMissingError."""
    return _find("node")


def provision() -> Path:
    """The folder that holds `node_modules`. Raises NodeMissingError, NpmError."""
    digest = hashlib.sha256((_FOLDER / "package-lock.json").read_bytes()).hexdigest()[:8]
    folder = cache_root() / f"node-{digest}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.is_dir():
            _install(folder)
    return folder


def _install(folder: Path) -> None:
    npm = _find("npm")
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.tmp-", dir=folder.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        for name in _FILES:
            shutil.copy(_FOLDER / name, made)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            result = subprocess.run(
                command, cwd=made, capture_output=True, text=True, check=False, timeout=_NPM_SECONDS_MAX
            )
        except subprocess.TimeoutExpired as error:
            raise NpmError(f"npm did not finish within {_NPM_SECONDS_MAX} s.") from error
        if result.returncode != 0:
            raise NpmError(f"npm could not fetch the packages (exit code {result.returncode}): {result.stderr[-500:]}")
        made.rename(folder)


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NodeMissingError(f"No `{program}` on PATH: install Node.js 18 or newer (Debian: apt install nodejs npm).")
    return path
