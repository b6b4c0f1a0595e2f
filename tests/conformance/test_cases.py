"""The cases of `cases/*.yaml` on the embedded log and on Kafka, or on the engine that the environment names.

What a case can say: `tests/support/conformance/cases.py`. How to name an engine: `environment.py` beside it.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from dev.engine_process import EngineProcess
from tests.support.conformance.cases import (
    NAMES,
    Place,
    build_saga_json,
    read_cases,
    topics_of,
    write_files,
)
from tests.support.conformance.endpoints import Endpoints
from tests.support.conformance.environment import find_named
from tests.support.conformance.subject import PARTITIONS, EmbeddedTopics, KafkaTopics, Subject
from tests.support.kafka import create_topics, unique_name

SECONDS_MAX = 60.0
NAMED = find_named()
SUBJECTS = (
    [(log, name) for log in ("embedded", "kafka") for name in NAMES] if NAMED is None else [("named", NAMED.cases)]
)
ALL = [
    pytest.param(
        subject,
        case,
        id=f"{subject[0]}: {subject[1]}: {case['name']}",
        marks=[pytest.mark.kafka] if subject[0] == "kafka" else [],
    )
    for subject in SUBJECTS
    for case in read_cases(subject[1])["cases"]
    if NAMED is None or case.get("only") != "flowmachine"
]


def start_engine(place: Place, name: str, *, on_kafka: bool) -> EngineProcess:
    """Our engine, with the saga.json as it is, and Flow Manager's environment."""
    saga_json = build_saga_json(name, place, is_ours=True)
    write_files(name, place)
    file = place.folder / "saga.json"
    file.write_text(json.dumps(saga_json), "utf-8")
    if on_kafka:
        asyncio.run(create_topics(place.brokers, dict.fromkeys(topics_of(saga_json), PARTITIONS)))
    engine = EngineProcess(
        file,
        *("--name", place.stem),
        *(() if on_kafka else ("--embedded", "--data-dir", str(place.folder))),
        log_path=place.folder / "engine.log",
        environment=read_cases(name).get("environment", {}),
    )
    try:
        return engine.start()
    except BaseException:
        engine.close()
        raise


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """One engine for all cases of a file on one log."""
    log, name = request.param
    answers = read_cases(name).get("answers", {})
    if NAMED is not None:
        endpoints = Endpoints(NAMED.place.host, NAMED.place.port, answers)
        yield Subject(NAMED.url, NAMED.place, KafkaTopics(NAMED.place.brokers), endpoints, is_ours=False)
        endpoints.close()
        return
    on_kafka = log == "kafka"
    brokers = request.getfixturevalue("kafka_broker").bootstrap if on_kafka else "localhost:9"
    endpoints = Endpoints("127.0.0.1", 0, answers)
    folder, stem = tmp_path_factory.mktemp(log), unique_name(f"conformance-{name}")
    place = Place(stem, brokers, endpoints.host, endpoints.port, folder)
    engine = start_engine(place, name, on_kafka=on_kafka)
    topics = KafkaTopics(brokers) if on_kafka else EmbeddedTopics(folder / f"{stem}.db")
    yield Subject(engine.url, place, topics, endpoints, is_ours=True)
    engine.close()
    endpoints.close()


@pytest.mark.parametrize(("subject", "case"), ALL, indirect=["subject"], scope="module")
async def test_case(subject: Subject, case: dict[str, Any]) -> None:
    async with aiohttp.ClientSession() as session:
        subject.session = session
        assert await subject.run(case, seconds_max=SECONDS_MAX) == []
