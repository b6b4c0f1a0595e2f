"""The image of a pod's first container, from ten lines of Go."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from dev.cache import Report, cache_root, locked, report_nothing
from dev.errors import ToolMissingError
from dev.images.buildah import find_buildah
from dev.images.run import run_step

NAME = "localhost/flowmachine-pause:1"

_SOURCES = Path(__file__).with_name("pause")


def build_pause_image(report: Report = report_nothing) -> Path:
    """Return the file that holds the image, building it when the cache does not hold it."""
    sources = sorted(path for path in _SOURCES.iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    archive = cache_root() / "images" / f"pause-{digest}.tar"
    with locked(cache_root() / "locks" / "images.lock"):
        if not archive.exists():
            _build(archive, report)
    return archive


def _build(archive: Path, report: Report) -> None:
    go = shutil.which("go")
    if go is None:
        message = "No `go` on PATH, needed for the pause image: install Go."
        raise ToolMissingError(message)
    buildah = find_buildah(report)
    report("Building the pause image ...")
    with tempfile.TemporaryDirectory(prefix="flowmachine-pause-") as folder:
        context = Path(folder)
        options = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w", f"-o={context / 'pause'}")
        run_step(go, "build", *options, ".", cwd=_SOURCES, environment={"CGO_ENABLED": "0", "GOWORK": "off"})
        buildah.build(context, NAME, file=_SOURCES / "Dockerfile")
    archive.parent.mkdir(parents=True, exist_ok=True)
    buildah.save(NAME, archive, NAME)
