"""pom.xml -> the jars of a Kafka broker in the user's cache folder, whose name carries version and digest."""

import hashlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from dev.cache import Report, cache_root, make_once, report_nothing
from dev.errors import ProvisionError
from dev.maven import copy_jars, find_java, find_maven

_POM = Path(__file__).with_name("pom.xml")


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


def provision(report: Report = report_nothing) -> Distribution:
    """Return Kafka's jars, fetching them by Maven when the cache does not hold them."""
    java = find_java()
    pom = _POM.read_bytes()
    version = _read_version(pom)
    folder = cache_root() / f"kafka-{version}-{hashlib.sha256(pom).hexdigest()[:8]}"

    def fetch(target: Path) -> None:
        maven = find_maven(f"Kafka {version}")
        report(f"Fetching Kafka {version} by Maven (54 MB, only the first time) ...")
        begin = time.monotonic()
        copy_jars(maven, _POM, target, folder.with_name(f"{folder.name}.maven.log"))
        if not list(target.glob("kafka_*.jar")):
            message = f"Maven reported success but left no Kafka jar in {target}."
            raise ProvisionError(message)
        report(f"Kafka {version} is in {folder} ({time.monotonic() - begin:.0f} s).")

    return Distribution(java=java, folder=make_once(folder, fetch), version=version)


def _read_version(pom: bytes) -> str:
    found = re.search(rb"<kafka\.version>([^<]+)</kafka\.version>", pom)
    if found is None:
        message = f"{_POM} has no <kafka.version>."
        raise ProvisionError(message)
    return found.group(1).decode()
