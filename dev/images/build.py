"""Dockerfile -> the project's image, as a file that a node imports."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dev.cache import Report, cache_root, locked, report_nothing
from dev.images.base import ensure_base
from dev.images.buildah import find_buildah
from dev.images.wheels import ROOT, make_wheels, this_python

REPOSITORY = "localhost/flowmachine"


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a file."""

    name: str
    archive: Path


def project_version() -> str:
    """Return the version that pyproject.toml states."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def build_image(
    *,
    base: str | None = None,
    python: str | None = None,
    name: str = f"{REPOSITORY}:{project_version()}",
    report: Report = report_nothing,
) -> Image:
    """Build the image of this work tree; what did not change since the last time is taken from the cache.

    Without a `base` it stands on one of our own making. `python` is the base's version; None: the same as here.
    """
    buildah = find_buildah(report)
    # One at a time: build/wheels is the context, and an image that is cached must not go while it is used.
    with locked(cache_root() / "locks" / "images.lock"):
        base = base or ensure_base(buildah, report)
        wheels = make_wheels(python or this_python(), report)
        key = hashlib.sha256(f"{base} {name} {buildah.digest(base) if buildah.has(base) else ''}".encode())
        for file in (ROOT / "Dockerfile", *sorted(wheels.iterdir())):
            key.update(file.read_bytes())
        archive = cache_root() / "images" / f"flowmachine-{key.hexdigest()[:12]}.tar"
        if not archive.exists():
            report(f"Building {name} on {base} ...")
            buildah.build(ROOT, name, BASE_IMAGE=base, VERSION=project_version())
            archive.parent.mkdir(parents=True, exist_ok=True)
            for older in archive.parent.glob("flowmachine-*.tar"):
                older.unlink()
            buildah.save(name, archive, name)
            buildah.prune()
    return Image(name, archive)
