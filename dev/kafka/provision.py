"""pom.xml -> the jars of a Kafka broker in the user's cache folder.

The folder's name carries the Kafka version and a digest of pom.xml. It appears by one rename, so that it is complete
whenever it exists; a run that finds it does nothing, and a second run at the same time waits for the first.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.kafka.addresses import locked
from dev.kafka.errors import ProvisionError, ToolMissingError

Report = Callable[[str], None]

_POM = Path(__file__).with_name("pom.xml")
_MAVEN_SECONDS_MAX = 900  # 54 MB; a slow line needs minutes, a hanging one should not hold a CI job for hours
_ERROR_LINES_MAX = 4


def report_nothing(_line: str) -> None:
    """Drop progress lines."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Kafka on disk, and the Java that runs it."""

    java: str
    folder: Path
    version: str

    @property
    def class_path(self) -> str:
        """All jars in a fixed order: the shared class archive is only valid for exactly this text."""
        return os.pathsep.join(str(jar) for jar in sorted(self.folder.glob("*.jar")))


def cache_root() -> Path:
    """Return the cache folder of FlowMachine's development tools."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "flowmachine"


def provision(report: Report = report_nothing) -> Distribution:
    """Return Kafka's jars, fetching them by Maven when the cache does not hold them."""
    java = find_java()
    pom = _POM.read_bytes()
    version = _read_version(pom)
    folder = cache_root() / f"kafka-{version}-{hashlib.sha256(pom).hexdigest()[:8]}"
    if not folder.is_dir():
        with locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _fetch(folder, version, report)
    return Distribution(java=java, folder=folder, version=version)


def find_java() -> str:
    """Return the path of `java`, from JAVA_HOME or PATH."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on PATH"
        message = f"No `java` {where}: install a JDK 17 or newer (Debian: apt install openjdk-17-jdk-headless)."
        raise ToolMissingError(message)
    return java


def _read_version(pom: bytes) -> str:
    found = re.search(rb"<kafka\.version>([^<]+)</kafka\.version>", pom)
    if found is None:
        message = f"{_POM} has no <kafka.version>."
        raise ProvisionError(message)
    return found.group(1).decode()


def _fetch(folder: Path, version: str, report: Report) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = f"No `mvn` on PATH, and Kafka {version} is not cached yet: install Maven (Debian: apt install maven)."
        raise ToolMissingError(message)
    for left_over in folder.parent.glob(f"{folder.name}.tmp-*"):  # of a run that was killed; we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
    try:
        report(f"Fetching Kafka {version} by Maven (54 MB, only the first time) ...")
        begin = time.monotonic()
        copy_jars(maven, _POM, temporary, folder.parent / f"{folder.name}.maven.log")
        if not list(temporary.glob("kafka_*.jar")):
            message = f"Maven reported success but left no Kafka jar in {temporary}."
            raise ProvisionError(message)
        temporary.chmod(0o755)
        temporary.rename(folder)
        report(f"Kafka {version} is in {folder} ({time.monotonic() - begin:.0f} s).")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_jars(maven: str, pom: Path, output: Path, log: Path) -> None:
    """Fetch what a pom names into a folder. Raises ProvisionError with Maven's reasons."""
    command = [maven, "-B", "-ntp", "-f", str(pom), "dependency:copy-dependencies"]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={output}"]
    with log.open("wb") as stream:
        try:
            result = subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, check=False, timeout=_MAVEN_SECONDS_MAX
            )
        except subprocess.TimeoutExpired as error:
            message = f"Maven did not finish within {_MAVEN_SECONDS_MAX} s; see {log}."
            raise ProvisionError(message) from error
    if result.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "ERROR" in line or "No space" in line]
        cause = "\n  ".join(lines[:_ERROR_LINES_MAX])
        message = f"Maven could not fetch the jars (exit code {result.returncode}); see {log}:\n  {cause}"
        raise ProvisionError(message)
