"""The pinned version of toxiproxy's server in the user's cache folder, built by Go unless it is there."""

from pathlib import Path
from typing import Final

from dev.go_program import GoProgram

_MODULE: Final = "github.com/Shopify/toxiproxy/v2/cmd/server"
_PROGRAM: Final = GoProgram(name="toxiproxy", version="v2.12.0", purpose="tests that cut the network need toxiproxy")


def provision() -> Path:
    """The program. Raises ToolMissingError without Go, ProvisionError when Go cannot build it."""
    return _PROGRAM.provide(_build)


def _build(program: GoProgram, target: Path) -> None:
    environment = {"GOBIN": str(target.parent), "GOFLAGS": "-trimpath"}
    program.run_go("install", f"{_MODULE}@{program.version}", cwd=target.parent, environment=environment)
    (target.parent / "server").rename(target)
