"""On which machine a figure was measured, and with what."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_GIB = 1024**3


def gather_facts(kafka_version: str) -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _find_line(Path("/proc/cpuinfo"), "model name"),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB, 1),
        "system": platform.platform(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kafka": kafka_version,
        "aiokafka": version("aiokafka"),
        "revision": _find_revision(),
    }


def _find_line(file: Path, name: str) -> str:
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _find_revision() -> str:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
