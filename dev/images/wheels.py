"""Locked libraries and this project -> build/wheels, where the Dockerfile takes them from.

Libraries come as ready wheels, checked against the hashes of requirements/image.txt, for the Python of the base image;
they are kept in the user's cache folder, by the digest of the lock. The project's own wheel is made anew each time.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from dev.cache import Report, cache_root, locked, report_nothing
from dev.images.run import run_step

ROOT = Path(__file__).resolve().parents[2]
EPOCH = "1577836800"  # 2020-01-01: what is packed carries this time, so that the same sources make the same bytes

_LOCKS = tuple(ROOT / "requirements" / name for name in ("image.txt", "build.txt"))
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")


def this_python() -> str:
    """Return the version of this Python as pip writes it, for example `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def make_wheels(python: str, report: Report = report_nothing) -> Path:
    """Fill build/wheels for a base with this version of Python, and return the folder."""
    libraries = _fetch_libraries(python, report)
    target = ROOT / "build" / "wheels"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(libraries, target)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", str(target))
    run_step(*_PIP, "wheel", *options, str(ROOT), environment={"SOURCE_DATE_EPOCH": EPOCH})
    return target


def _fetch_libraries(python: str, report: Report) -> Path:
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in _LOCKS)).hexdigest()[:8]
    folder = cache_root() / f"wheels-{python}-{digest}"
    with locked(cache_root() / "locks" / "wheels.lock"):
        if folder.is_dir():
            return folder
        report(f"Fetching the libraries of the image for Python {python} ...")
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
        try:
            options = ("--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={python}")
            for lock in _LOCKS:
                run_step(*_PIP, "download", *options, "--dest", str(temporary), "--requirement", str(lock))
            temporary.chmod(0o755)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder
