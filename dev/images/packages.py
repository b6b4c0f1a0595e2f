"""Programs of the system: found on PATH, or installed by apt where that is there and we are root."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.cache import Report, cache_root, locked, report_nothing
from dev.errors import ProvisionError, ToolMissingError

_APT_SECONDS_MAX = 900
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # sbin is not on everybody's PATH


def find_program(name: str) -> str | None:
    """Return the path of a program, also from the folders of administrators."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def ensure_programs(packages: Mapping[str, str], report: Report = report_nothing) -> None:
    """Make sure that programs are there. `packages` maps each (by name, or by path) to its Debian package."""
    if not _missing(packages):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        names = sorted(set(_missing(packages).values()))
        message = f"Missing: {', '.join(_missing(packages))}. Install them (Debian: apt install {' '.join(names)})."
        raise ToolMissingError(message)
    with locked(cache_root() / "locks" / "apt.lock"):
        missing = _missing(packages)
        if missing:
            names = sorted(set(missing.values()))
            report(f"Installing {', '.join(names)} by apt ...")
            _apt("update", "-qq")
            _apt("install", "-qq", "--yes", "--no-install-recommends", *names)


def _missing(packages: Mapping[str, str]) -> dict[str, str]:
    return {name: package for name, package in packages.items() if not _is_there(name)}


def _is_there(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else find_program(name) is not None


def _apt(*arguments: str) -> None:
    result = subprocess.run(
        ["apt-get", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_APT_SECONDS_MAX,
    )
    if result.returncode != 0:
        message = f"apt-get {arguments[0]} failed: {result.stderr.strip() or result.stdout.strip()}"
        raise ProvisionError(message)
