"""The image from the Dockerfile: what is in it, what is not, and that the same sources make the same bytes."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pytest

from dev.images import Image, build_image
from dev.images.base import ensure_base
from dev.images.build import project_version
from dev.images.buildah import find_buildah
from dev.images.wheels import ROOT, make_wheels, this_python
from tests.support.tools import skipped_without_tools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BYTES_MAX = 280_000_000
"""Of all files, the base included."""

_FOLDERS_OF_PROGRAMS = {"bin", "sbin"}
_BUILD_TOOLS = {"apt", "apt-get", "as", "cargo", "cc", "dpkg", "gcc", "git", "go", "ld", "make", "perl", "pip", "pip3"}
_BUILD_PACKAGES = {"ensurepip", "hatchling", "pip", "setuptools", "wheel"}


@dataclass(frozen=True, slots=True)
class Content:
    """What an image file says and holds."""

    config: dict[str, Any]
    files: dict[PurePosixPath, tarfile.TarInfo]


@pytest.fixture(scope="module")
def image() -> Image:
    with skipped_without_tools():
        return build_image(report=print)


@pytest.fixture(scope="module")
def content(image: Image) -> Content:
    with tarfile.open(image.archive) as archive:
        (manifest,) = json.loads(_read(archive, "manifest.json"))
        document = json.loads(_read(archive, manifest["Config"]))
        return Content(document["config"], dict(_list(archive, manifest["Layers"])))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None
    return stream.read()


def _list(archive: tarfile.TarFile, layers: list[str]) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo]]:
    """Entries of all layers. What a later one hides is counted: it is pulled all the same."""
    for layer in layers:
        with tarfile.open(fileobj=archive.extractfile(layer)) as entries:
            yield from ((PurePosixPath("/", entry.name), entry) for entry in entries)


def test_it_is_small(content: Content) -> None:
    total = sum(entry.size for entry in content.files.values())
    assert total < BYTES_MAX, f"{total / 1e6:.0f} MB"


def test_it_holds_no_build_tools(content: Content) -> None:
    programs = {path.name for path in content.files if path.parent.name in _FOLDERS_OF_PROGRAMS}
    assert "python3" in programs, "the test looks where programs are"
    assert programs & _BUILD_TOOLS == set()
    packages = {path.name for path in content.files if path.parent.name == "site-packages" or path.name == "ensurepip"}
    assert "flowmachine" in packages, "the test looks where packages are"
    assert packages & _BUILD_PACKAGES == set()


def test_nobody_becomes_root_in_it(content: Content) -> None:
    assert content.config["User"] == "65532:65532"
    privileged = [path for path, entry in content.files.items() if entry.isfile() and entry.mode & 0o6000]
    assert privileged == []
    ours = [entry for path, entry in content.files.items() if path.is_relative_to("/opt/flowmachine")]
    assert {(entry.uid, entry.gid) for entry in ours} == {(0, 0)}, "who runs it cannot change it"
    assert [entry.name for entry in ours if not entry.issym() and entry.mode & 0o022] == []


def test_both_commands_are_there_and_the_bytecode_of_all_modules(content: Content) -> None:
    for command in ("flowmachine", "flowmachine-operator"):
        assert content.files[PurePosixPath("/opt/flowmachine/bin", command)].mode & 0o111 == 0o111
    compiled = {(path.parents[1], path.name.split(".")[0]) for path in content.files if path.suffix == ".pyc"}
    modules = [path for path in content.files if path.suffix == ".py" and "/lib/python3." in str(path)]
    assert len(modules) > 1000, "the test looks where modules are"
    without = [path for path in modules if (path.parent, path.stem) not in compiled]
    assert without == [], "the root file system is read-only, so these would be compiled at each start"


def test_same_sources_make_the_same_bytes(image: Image) -> None:
    """Neither build takes anything from the other but the base, nor from earlier ones, whose base had another name."""
    buildah, tags = find_buildah(), [f"{image.name}-first", f"{image.name}-second"]
    make_wheels(this_python())
    base = ensure_base(buildah)
    try:
        for tag in tags:
            buildah.build(ROOT, tag, use_cache=False, BASE_IMAGE=base, VERSION=project_version())
        first, second = map(buildah.digest, tags)
        assert first == second
    finally:
        for tag in tags:
            if buildah.has(tag):
                buildah.remove(tag)
