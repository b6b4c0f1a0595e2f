"""The cases can be put to any engine: one in a process of its own, which they know by its URL and brokers only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev.addresses import find_free_ports
from dev.engine_process import EngineProcess
from tests.support.conformance import environment
from tests.support.conformance.__main__ import main as write_configuration
from tests.support.conformance.cases import NAMES, read_cases
from tests.support.kafka import KafkaBroker, create_topics

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def run_cases(url: str, brokers: str, endpoints: str, cases: str) -> subprocess.CompletedProcess[str]:
    """The suite as a user runs it."""
    variables = {
        environment.URL: url,
        environment.BROKERS: brokers,
        environment.ENDPOINTS: endpoints,
        environment.CASES: cases,
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests/conformance/test_cases.py", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.mark.timeout(240)
@pytest.mark.parametrize("cases", NAMES)
async def test_cases_are_put_to_an_engine_by_url_and_brokers(
    cases: str, kafka_broker: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brokers, endpoints = kafka_broker.bootstrap, f"127.0.0.1:{find_free_ports(1)[0]}"
    written = ["--brokers", brokers, "--endpoints", endpoints, "--folder", str(tmp_path), "--flowmachine"]
    write_configuration([cases, *written])
    topics, *variables = capsys.readouterr().out.splitlines()
    await create_topics(brokers, dict.fromkeys(topics.removeprefix("topics: ").split(), 2))
    named = dict(line.removeprefix("variable: ").split("=", 1) for line in variables)
    engine = EngineProcess(Path(named["CONFIGURATIONS_FILE_PATH"]), environment=named)
    try:
        engine.start()
        done = run_cases(engine.url, brokers, endpoints, cases)
        broken = run_cases(engine.url, "127.0.0.1:9", endpoints, cases) if cases == "deep" else None
    finally:
        engine.close()
    assert done.returncode == 0, done.stdout
    expected = [case for case in read_cases(cases)["cases"] if case.get("only") != "flowmachine"]
    assert f"{len(expected)} passed" in done.stdout, done.stdout
    assert broken is None or broken.returncode == 1, "a suite that cannot see the commands is not green"
