"""buildah with a storage of its own under the user's cache folder: the system's images and settings stay untouched.

`--isolation chroot` needs neither a container runtime nor namespaces that a sandbox may refuse.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dev.cache import Report, cache_root, report_nothing
from dev.errors import ToolMissingError
from dev.images.packages import ensure_programs, find_program
from dev.images.run import run_step
from dev.images.wheels import EPOCH


@dataclass(frozen=True, slots=True)
class Buildah:
    """A buildah program and its storage."""

    program: str
    storage: Path

    def build(
        self, context: Path, tag: str, *, file: Path | None = None, use_cache: bool = True, **arguments: str
    ) -> None:
        """Build an image from a context; steps that did not change are not run again, unless the cache is not used."""
        file = file or context / "Dockerfile"
        options = [f"--file={file}", f"--tag={tag}", f"--timestamp={EPOCH}", "--layers", "--quiet"]
        options += [] if use_cache else ["--no-cache"]
        options += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        self._run("bud", "--isolation=chroot", *options, str(context))

    def save(self, tag: str, target: Path, name: str) -> None:
        """Write an image into a file that containerd and Docker import, under this name."""
        target.unlink(missing_ok=True)
        self._run("push", "--quiet", tag, f"docker-archive:{target}:{name}")

    def has(self, tag: str) -> bool:
        """Tell whether there is an image of this name."""
        return bool(self._run("images", "--quiet", "--filter", f"reference={tag}").strip())

    def digest(self, tag: str) -> str:
        """Return the id of an image: the digest of its configuration, and with it of all its layers."""
        return self._run("inspect", "--type=image", "--format={{.FromImageID}}", tag).strip()

    def remove(self, tag: str) -> None:
        """Forget an image of this name."""
        self._run("rmi", "--force", tag)

    def prune(self) -> None:
        """Forget images that have no name any more: those that a newer one of the same name took it from."""
        self._run("rmi", "--prune", "--force")

    def _run(self, command: str, *arguments: str) -> str:
        storage = (f"--root={self.storage / 'root'}", f"--runroot={self.storage / 'run'}", "--storage-driver=overlay")
        return run_step(self.program, *storage, command, *arguments)


def find_buildah(report: Report = report_nothing) -> Buildah:
    """Return buildah, installing it where that is allowed. Raises ToolMissingError."""
    if os.geteuid() != 0:
        message = "Images are built as root: their files belong to several users."
        raise ToolMissingError(message)
    ensure_programs({"buildah": "buildah"}, report)
    program = find_program("buildah")
    assert program is not None, "ensure_programs has found it"
    return Buildah(program, cache_root() / "buildah")
