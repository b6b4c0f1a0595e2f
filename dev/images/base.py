"""A small Debian (or Ubuntu, as this machine is) with Python, made by debootstrap: a base image that nobody must pull.

It follows the machine: same distribution, same mirror, and therefore mostly the same Python. It is made once, and
again when this file changes, since it is not shipped: released images name a maintained base (`make images BASE=...`).
"""

import hashlib
import platform
import shutil
import stat
import tempfile
from pathlib import Path

from dev.cache import Report, report_nothing
from dev.images.buildah import Buildah
from dev.images.packages import ensure_programs
from dev.images.run import run_step

_PACKAGES = ("ca-certificates", "python3")
# What a container never needs: the package manager and its Perl, character sets that only C programs convert, manuals,
# translations, and bytecode, which the Dockerfile makes. The list of packages stays, for scanners.
_LEFT_OUT = (
    "usr/bin/apt*",
    "usr/bin/deb*",
    "usr/bin/dpkg*",
    "usr/bin/perl*",
    "usr/lib/*/gconv",
    "usr/lib/*/libapt-*",
    "usr/lib/*/perl-base",
    "usr/lib/apt",
    "usr/lib/dpkg",
    "usr/lib/python3*/**/__pycache__",
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl*",
    "usr/share/python3/**/__pycache__",
    "var/cache/*",
    "var/lib/apt",
    "var/lib/dpkg/info",
    "var/log/*",
)
_PRIVILEGED = stat.S_ISUID | stat.S_ISGID
_CONTAINERFILE = "FROM scratch\nCOPY root/ /\n"


def ensure_base(buildah: Buildah, report: Report = report_nothing) -> str:
    """Return the name of the base image, making it when it is not there."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    tag = f"localhost/flowmachine-base:{codename}-{recipe}"
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
    for pattern in _LEFT_OUT:
        for path in list(root.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    # Programs that would run as root, whoever starts them.
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & _PRIVILEGED:
            path.chmod(stat.S_IMODE(mode) & ~_PRIVILEGED)
    (folder / "Dockerfile").write_text(_CONTAINERFILE)
    buildah.build(folder, tag)
