"""The cases of `cases/*.yaml` on the embedded log and on Kafka, or on the engine that the environment names.

A case's inputs all go through the topic of events. Once the engine has handled each of them, the saga and its commands
must be what the case expects, and nothing more.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.engine_process import EngineProcess
from tests.support.conformance import CASES, Subject, differences, named_subject, read_cases, saga_json, until
from tests.support.kafka import create_topics, unique_name

SECONDS_MAX = 60.0
NAMES = sorted(file.stem for file in CASES.glob("*.yaml"))
ALL = [
    pytest.param(
        (log, name), case, id=f"{log}: {name}: {case['name']}", marks=[pytest.mark.kafka] if log == "kafka" else []
    )
    for log in ("embedded", "kafka")
    for name in NAMES
    for case in read_cases(name)["cases"]
]


def start_engine(folder: Path, name: str, bootstrap: str | None) -> Subject:
    """Our engine, with the saga.json as it is."""
    stem = unique_name(f"conformance-{name}")
    file = folder / "saga.json"
    file.write_text(json.dumps(saga_json(name, bootstrap or "localhost:9", stem)), "utf-8")
    if bootstrap is not None:
        asyncio.run(create_topics(bootstrap, {f"{stem}-events": 2, f"{stem}-commands": 2}))
    embedded = () if bootstrap is not None else ("--embedded", "--data-dir", str(folder))
    engine = EngineProcess(file, "--name", stem, *embedded, log_path=folder / "engine.log")
    try:
        engine.start()
    except BaseException:
        engine.close()
        raise
    return Subject(engine.url, stem, bootstrap, None if bootstrap is not None else folder / f"{stem}.db", engine)


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One engine for all cases of a file on one log."""
    log, name = request.param
    named = named_subject(name)
    if named is not None and log == "kafka":
        yield named
        return
    bootstrap = request.getfixturevalue("kafka_broker").bootstrap if log == "kafka" else None
    started = start_engine(tmp_path_factory.mktemp(log), name, bootstrap)
    yield started
    assert started.process is not None
    started.process.close()


async def run_case(subject: Subject, case: dict[str, Any]) -> list[str]:
    before = await subject.inputs_handled()
    saga_id = await subject.create(case["create"])
    await until(lambda: subject.commands(saga_id))  # the events must not come before their saga
    for message in case["inputs"]:
        await subject.report(saga_id, message)
    await subject.wait_handled(before, 1 + len(case["inputs"]))
    found: list[str] = []

    async def is_settled() -> bool:
        found[:] = differences(case["expect"], await subject.saga(saga_id), await subject.commands(saga_id))
        return not found or subject.is_ours  # another engine does not say when it is done

    await until(is_settled)
    return found


@pytest.mark.parametrize(("subject", "case"), ALL, indirect=["subject"])
async def test_case(subject: Subject, case: dict[str, Any]) -> None:
    if case.get("only") == "flowmachine" and not subject.is_ours:
        return  # what Flow Manager does with it is not specified
    async with aiohttp.ClientSession() as session, asyncio.timeout(SECONDS_MAX):
        subject.session = session
        assert await run_case(subject, case) == []
