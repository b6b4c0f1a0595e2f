"""pom.xml -> jars in a folder, by Maven; and the Java that runs them."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from dev.errors import ProvisionError, ToolMissingError

_SECONDS_MAX: Final = 900  # 54 MB of Kafka; a slow line needs minutes, a hanging one should not hold a CI job for hours
_ERROR_LINES_MAX: Final = 4


def find_java() -> str:
    """Return the path of `java`, from JAVA_HOME or PATH. Raises ToolMissingError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on PATH"
        message = f"No `java` {where}: install a JDK 17 or newer (Debian: apt install openjdk-17-jdk-headless)."
        raise ToolMissingError(message)
    return java


def find_maven(wanted: str) -> str:
    """Return the path of `mvn`. `wanted` is what it shall fetch. Raises ToolMissingError."""
    maven = shutil.which("mvn")
    if maven is None:
        message = f"No `mvn` on PATH, and {wanted} is not cached yet: install Maven (Debian: apt install maven)."
        raise ToolMissingError(message)
    return maven


def copy_jars(maven: str, pom: Path, output: Path, log: Path) -> None:
    """Fetch what a pom names into a folder. Raises ProvisionError with Maven's reasons."""
    command = [maven, "-B", "-ntp", "-f", str(pom), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={output}"]
    with log.open("wb") as stream:
        try:
            result = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False, timeout=_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            message = f"Maven did not finish within {_SECONDS_MAX} s; see {log}."
            raise ProvisionError(message) from error
    if result.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line or "No space" in line]
        cause = "\n  ".join(lines[:_ERROR_LINES_MAX])
        message = f"Maven could not fetch the jars (exit code {result.returncode}); see {log}:\n  {cause}"
        raise ProvisionError(message)
