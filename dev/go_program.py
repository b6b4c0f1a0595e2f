"""Programs from Go modules, each built once for the user's cache folder."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.cache import cache_root, make_once
from dev.errors import ProvisionError, ToolMissingError

_SECONDS_MAX: Final = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """A program, and what it is needed for, as the end of a sentence."""

    name: str
    version: str
    purpose: str

    def provide(self, build: Callable[["GoProgram", Path], None]) -> Path:
        """Return the program, which `build` writes to a path unless it is there.

        Raises ToolMissingError, ProvisionError.
        """
        return make_once(cache_root() / f"{self.name}-{self.version}", lambda target: build(self, target))

    def run_go(self, *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
        """Run one go command and return what it printed. Raises ToolMissingError, ProvisionError."""
        go = shutil.which("go")
        if go is None:
            raise ToolMissingError(f"No `go` on PATH: install Go 1.23 or newer; {self.purpose}.")
        try:
            result = subprocess.run(
                [go, *arguments],
                cwd=cwd,
                env=os.environ | dict(environment or {}),
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired as error:
            raise ProvisionError(f"Go did not build {self.name} within {_SECONDS_MAX} s.") from error
        if result.returncode != 0:
            raise ProvisionError(f"Go could not build {self.name}: {result.stderr[-1000:]}")
        return result.stdout
