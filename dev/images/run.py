"""Runs one step of a build, quietly unless it fails."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dev.errors import ProvisionError

_STEP_SECONDS_MAX = 1800
_ERROR_LINES_MAX = 20


def run_step(*command: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; ProvisionError ends with the last lines that it wrote."""
    try:
        result = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_STEP_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as error:
        message = f"`{' '.join(command)}` did not finish within {_STEP_SECONDS_MAX} s."
        raise ProvisionError(message) from error
    if result.returncode != 0:
        end = "\n  ".join((result.stdout + result.stderr).splitlines()[-_ERROR_LINES_MAX:])
        message = f"`{' '.join(command)}` failed:\n  {end}"
        raise ProvisionError(message)
    return result.stdout
