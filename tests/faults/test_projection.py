"""Copies in a real PostgreSQL while things break: only the copies are late, none is missing, none goes back."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from dev.engine_process import EngineProcess
from dev.postgres import PASSWORD, PostgresServer
from dev.toxiproxy import Toxiproxy
from tests.support.databases import start_postgres
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker
from tests.support.orders import (
    FinalStates,
    Orders,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    running_participants,
)

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SAGAS = 2_000


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of the test's own, to be killed."""
    started = start_postgres()
    yield started
    started.__exit__(None, None, None)


@pytest.fixture
async def orders(kafka_broker: KafkaBroker, tmp_path: Path, server: PostgresServer) -> Orders:
    prepared = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    set_store(prepared, server.uri)
    return prepared


@pytest.fixture
async def processes(orders: Orders) -> AsyncGenerator[list[EngineProcess]]:
    """Whatever the test has started; killed at the end."""
    made: list[EngineProcess] = []
    yield made
    for process in made:
        process.close()


def set_store(orders: Orders, uri: str, **more: Any) -> None:
    document = yaml.safe_load(orders.file.read_text())
    document["spec"]["persistence"] = {"type": "postgres", "configurations": {"connectionUri": uri}, **more}
    orders.file.write_text(yaml.safe_dump(document, sort_keys=False))


async def start(orders: Orders, processes: list[EngineProcess], *arguments: str, command: str = "run") -> EngineProcess:
    process = EngineProcess(orders.file, *arguments, command=command)
    processes.append(process)
    return await asyncio.to_thread(process.start)


def get(process: EngineProcess, path: str) -> str:
    with urllib.request.urlopen(f"{process.url}{path}", timeout=10) as response:  # noqa: S310 - our own child
        return response.read().decode()


def store_of(process: EngineProcess) -> dict[str, Any]:
    return json.loads(get(process, "/-/check-up"))["store"]


def count(server: PostgresServer, condition: str = "true") -> int:
    """Rows; 0 while there is no table yet."""
    with suppress(psycopg.errors.UndefinedTable), psycopg.connect(server.uri) as connection:
        statement = f"SELECT count(*) FROM sagas WHERE {condition}"  # noqa: S608 - of this file
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])
    return 0


def outages(process: EngineProcess) -> list[str]:
    return [line["message"] for line in process.log_lines() if " store " in line.get("message", "")]


@pytest.mark.timeout(300)
async def test_store_killed_under_load_and_stopped_under_load_misses_nothing(
    orders: Orders, server: PostgresServer, processes: list[EngineProcess]
) -> None:
    engine = await start(orders, processes)
    finals = FinalStates(orders)
    async with running_participants(orders):
        first = await create_sagas(orders, SAGAS, prefix="first")
        await eventually(lambda: count(server) > 100, "the projection has begun", timeout_seconds=60)
        await asyncio.to_thread(server.kill)
        await finals.wait_for(first, timeout_seconds=120)  # without a store
        second = await create_sagas(orders, SAGAS, prefix="second")
        await finals.wait_for(second, timeout_seconds=120)
        await eventually(lambda: store_of(engine)["status"] == "KO", "the outage is shown")
        assert engine.is_ready()
        assert 'flowmachine_store_available{type="postgres"} 0.0' in get(engine, "/-/metrics")
        await asyncio.to_thread(server.start)
        await eventually(lambda: count(server, "is_final") == 2 * SAGAS, "all are there", timeout_seconds=90)

        server.pause()
        third = await create_sagas(orders, SAGAS, prefix="third")
        await finals.wait_for(third, timeout_seconds=120)  # while every call to the store hangs
        server.resume()
        await eventually(lambda: count(server, "is_final") == 3 * SAGAS, "the rest too", timeout_seconds=120)
    assert count(server) == 3 * SAGAS
    await eventually(lambda: store_of(engine)["status"] == "OK", "the store works again")
    said = outages(engine)
    assert len(said) <= 6, f"one line for the end and one for the start of an outage: {said}"


@pytest.mark.timeout(300)
async def test_newer_rows_are_kept_and_the_whole_topic_a_second_time_changes_nothing(
    orders: Orders, server: PostgresServer, processes: list[EngineProcess]
) -> None:
    engine = await start(orders, processes)
    finals = FinalStates(orders)
    async with running_participants(orders):
        ids = await create_sagas(orders, 500)
        await finals.wait_for(ids, timeout_seconds=120)
    await eventually(lambda: count(server, "is_final") == 500, "all are there", timeout_seconds=60)
    with psycopg.connect(server.uri) as connection:
        connection.execute(b"UPDATE sagas SET seq = 99, current_state = 'by hand' WHERE saga_id = 'saga-000007'")
        before = connection.execute(b"SELECT * FROM sagas ORDER BY saga_id").fetchall()
    engine.terminate()

    # Two projectors, an engine's and one alone, with a group that has not read anything yet.
    orders.file.write_text(orders.file.read_text().replace(f"consumerGroup: {orders.name}", "consumerGroup: second"))
    again = await start(orders, processes)
    alone = await start(orders, processes, command="project")
    await eventually(
        lambda: sum(written(process) for process in (again, alone)) >= 500, "all are read again", timeout_seconds=90
    )
    with psycopg.connect(server.uri) as connection:
        assert connection.execute(b"SELECT * FROM sagas ORDER BY saga_id").fetchall() == before
    assert alone.terminate() == 0


def written(process: EngineProcess) -> int:
    lines = get(process, "/-/metrics").splitlines()
    found = (line for line in lines if line.startswith('flowmachine_projected_sagas_total{outcome="written"}'))
    return int(float(next(found, "x 0").split()[-1]))


@pytest.mark.timeout(300)
async def test_what_has_to_be_put_right_is_named_and_needs_no_restart(
    orders: Orders, server: PostgresServer, processes: list[EngineProcess]
) -> None:
    set_store(orders, server.uri.replace(PASSWORD, "wrong-password"))
    engine = await start(orders, processes)
    finals = FinalStates(orders)
    async with running_participants(orders):
        ids = await create_sagas(orders, 200)
        await finals.wait_for(ids, timeout_seconds=120)
    await eventually(lambda: store_of(engine)["code"] == "store-credentials", "the reason is shown")
    assert engine.is_ready()
    assert 'flowmachine_store_failures_total{code="store-credentials"}' in get(engine, "/-/metrics")
    assert "wrong-password" not in engine.log_path.read_text()
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(b"ALTER ROLE postgres PASSWORD 'wrong-password'")
    server_uri = server.uri.replace(PASSWORD, "wrong-password")

    def all_there() -> bool:
        with psycopg.connect(server_uri) as connection:
            row = connection.execute(b"SELECT count(*) FROM sagas WHERE is_final").fetchone()
            return row == (200,)

    await eventually(lambda: store_of(engine)["status"] == "OK", "it works", timeout_seconds=90)
    await eventually(all_there, "all are there", timeout_seconds=60)
    assert engine.is_running


@pytest.mark.timeout(300)
async def test_store_that_takes_two_seconds_for_every_call_has_no_effect_on_the_loop(
    orders: Orders, server: PostgresServer, processes: list[EngineProcess], toxiproxy: Toxiproxy
) -> None:
    link = toxiproxy.link(f"127.0.0.1:{server.port}")
    set_store(orders, server.uri.replace(f"127.0.0.1:{server.port}", link.address))
    engine = await start(orders, processes)
    finals = FinalStates(orders)
    ids = await create_sagas(orders, 1, prefix="first")
    await eventually(lambda: count(server) == 1, "the projection has begun", timeout_seconds=60)
    link.add_latency(2_000)
    async with running_participants(orders):
        ids += await create_sagas(orders, SAGAS)
        await finals.wait_for(ids, timeout_seconds=120)
        assert count(server, "is_final") < len(ids), "the store is behind"
        await eventually(lambda: slow_calls(engine) > 0, "calls took two seconds", timeout_seconds=60)
        assert engine.is_ready()
        assert store_of(engine)["status"] == "OK", "slow is not away"
        link.heal()
        await eventually(lambda: count(server, "is_final") == len(ids), "all are there", timeout_seconds=90)
    await assert_exactly_once(orders, ids, finals)
    assert outages(engine) == []


def slow_calls(process: EngineProcess) -> int:
    """Batches for which the store took longer than a second."""
    name = "flowmachine_projection_seconds"
    lines = (line.rsplit(" ", 1) for line in get(process, "/-/metrics").splitlines() if line.startswith(name))
    samples = {sample: int(float(value)) for sample, value in lines}
    return samples[f"{name}_count"] - samples[f'{name}_bucket{{le="1.0"}}']
