"""Runs kubectl against one cluster, untouched by what the contributor's home folder configures."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.errors import KubectlError

_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl program, the kubeconfig it uses and the folder where it may keep what it learns about the API."""

    program: str
    kubeconfig: Path
    cache: Path

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = _TIMEOUT_SECONDS) -> str:
        """Run a command and return what it printed; KubectlError holds what it wrote to standard error.

        `stdin` is for `-f -`. The time is a limit for the command as a whole.
        """
        command = [self.program, f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.cache}", *arguments]
        try:
            result = subprocess.run(
                command,
                input=stdin or "",
                env=os.environ | {"KUBERC": "off"},
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_seconds,
            )
        except subprocess.TimeoutExpired as error:
            message = f"kubectl {' '.join(arguments)} did not finish within {timeout_seconds:.0f} s"
            raise KubectlError(message) from error
        if result.returncode != 0:
            message = f"kubectl {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}"
            raise KubectlError(message)
        return result.stdout
