"""A small Debian (or Ubuntu, as this machine is) with Python, made by debootstrap: a base image that nobody must pull.

It follows the machine: same distribution, same mirror, and therefore mostly the same Python. It is made once a month at
most, since it is not shipped: released images name a maintained base (`make images BASE=...`).
"""

import platform
import shutil
import tempfile
from pathlib import Path

from dev.cache import Report, report_nothing
from dev.images.buildah import Buildah
from dev.images.packages import ensure_programs
from dev.images.run import run_step

_PACKAGES = ("ca-certificates", "python3", "python3-venv")
# What a container never reads: lists and archives of packages, manuals, translations.
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/python-wheels",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
)
_CONTAINERFILE = "FROM scratch\nCOPY root/ /\n"


def ensure_base(buildah: Buildah, report: Report = report_nothing) -> str:
    """Return the name of the base image, making it when it is not there."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    tag = f"localhost/flowmachine-base:{codename}"
    if not buildah.has(tag):
        ensure_programs({"debootstrap": "debootstrap"}, report)
        report(f"Making a base image of {codename} by debootstrap (a minute, only the first time) ...")
        with tempfile.TemporaryDirectory(prefix="flowmachine-base-") as folder:
            _make_base(buildah, Path(folder), codename, tag)
    return tag


def _make_base(buildah: Buildah, folder: Path, codename: str, tag: str) -> None:
    root = folder / "root"
    # The mirror of the machine's own sources, so that a machine behind a proxy needs no second setting.
    sites = run_step("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {codename}")
    mirror = sites.splitlines()[:1]
    run_step("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", codename, str(root), *mirror)
    for name in _LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    (folder / "Dockerfile").write_text(_CONTAINERFILE)
    buildah.build(folder, tag)
