"""Engines in processes of their own, several at a time, and the product's audit as a child process."""

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from dev.addresses import find_free_ports
from dev.engine_process import EngineProcess

_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def engines(file: Path, count: int) -> Iterator[list[EngineProcess]]:
    """Engines on fixed ports, as pods have: one that comes back takes its dead self's place."""
    made = [
        EngineProcess(file, "--http", f"127.0.0.1:{port}", log_path=file.with_name(f"engine-{number}.log"))
        for number, port in enumerate(find_free_ports(count))
    ]
    try:
        yield made
    finally:
        for engine in made:
            engine.close()


def running_partitions(url: str) -> list[str]:
    """The home partitions that an engine works on."""
    try:
        with urllib.request.urlopen(f"{url}/-/check-up", timeout=5) as response:  # noqa: S310 - our own child
            body = json.load(response)
    except urllib.error.HTTPError as error:  # not ready: the answer says why, in the same form
        body = json.load(error)
    return [number for number, phase in body["partitions"].items() if phase == "running"]


def metric_total(engine: EngineProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    with urllib.request.urlopen(f"{engine.url}/-/metrics", timeout=10) as response:  # noqa: S310 - our own child
        text = response.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def assert_audit_is_clean(file: Path, sagas: int, *arguments: str, elsewhere: int = 0) -> dict[str, Any]:
    """`flowmachine audit` finds nothing, and has verified all of so many sagas; returns its report.

    `elsewhere`: how many more it knows to have begun elsewhere.
    """
    command = [sys.executable, "-m", "flowmachine", "audit", "-f", str(file), "--output", "json", *arguments]
    environment = os.environ | {"PYTHONPATH": str(_ROOT / "engine")}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    done = await asyncio.to_thread(run)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    findings = report["findings"][:5]
    assert done.returncode == 0, f"{report['findingCounts']}, for example {findings}"
    unverified = {each["reason"]: each["count"] for each in report["notVerifiable"]}
    expected = {"elsewhere": elsewhere} if elsewhere else {}
    assert (report["verified"], unverified) == (sagas, expected), "not every saga is verified"
    return report
