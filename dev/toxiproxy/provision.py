"""The pinned version of toxiproxy's server in the user's cache folder, built by Go unless it is there."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from dev.kafka.addresses import locked
from dev.kafka.errors import ProvisionError, ToolMissingError
from dev.kafka.provision import cache_root

VERSION: Final = "v2.12.0"
_MODULE: Final = "github.com/Shopify/toxiproxy/v2/cmd/server"
_BUILD_SECONDS_MAX: Final = 600


def provision() -> Path:
    """The program. Raises ToolMissingError without Go, ProvisionError when Go cannot build it."""
    program = cache_root() / f"toxiproxy-{VERSION}"
    with locked(program.with_name(f"{program.name}.lock")):
        if not program.is_file():
            _build(program)
    return program


def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ToolMissingError("No `go` on PATH: install Go 1.23 or newer; tests that cut the network need toxiproxy.")
    with tempfile.TemporaryDirectory(prefix=f"{program.name}.tmp-", dir=program.parent) as folder:
        command = [go, "install", f"{_MODULE}@{VERSION}"]
        environment = os.environ | {"GOBIN": folder, "GOFLAGS": "-trimpath"}
        try:
            result = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS_MAX
            )
        except subprocess.TimeoutExpired as error:
            raise ProvisionError(f"Go did not build toxiproxy within {_BUILD_SECONDS_MAX} s.") from error
        if result.returncode != 0:
            raise ProvisionError(f"Go could not build toxiproxy: {result.stderr[-1000:]}")
        (Path(folder) / "server").rename(program)
