"""The projector on the embedded log, with a real PostgreSQL: in the engine, and beside it."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from dev.engine_process import EngineProcess
from tests.support.eventually import eventually
from tests.support.kubelet import create_saga
from tests.support.orders import order_document

SAGAS = 30


class Shop:
    """A machine without Kafka whose sagas go to a database."""

    def __init__(self, folder: Path, database: str) -> None:
        self.file = folder / "shop.yaml"
        self.data = folder / "data"
        self.database = database
        self.processes: list[EngineProcess] = []
        document = order_document("shop", {"kafka": {"brokers": ["nowhere:9092"], "outputTopics": ["shop-commands"]}})
        document["spec"]["persistence"] = {"type": "postgres", "configurations": {"connectionUri": database}}
        self.file.write_text(yaml.safe_dump(document))

    async def start(self, *arguments: str, command: str = "run") -> EngineProcess:
        options = ("--embedded", "--data-dir", str(self.data), *arguments)
        process = EngineProcess(self.file, *options, command=command)
        self.processes.append(process)
        return await asyncio.to_thread(process.start)

    async def create(self, engine: EngineProcess, count: int = SAGAS) -> set[str]:
        return {await asyncio.to_thread(create_saga, engine.url) for _ in range(count)}

    def copied(self) -> set[str]:
        """Ids of the rows; none while there is no table yet."""
        with suppress(psycopg.errors.UndefinedTable), psycopg.connect(self.database) as connection:
            return {row[0] for row in connection.execute("SELECT saga_id FROM sagas WHERE current_state = 'created'")}
        return set()


@pytest.fixture
async def shop(tmp_path: Path, postgres_database: str) -> AsyncGenerator[Shop]:
    made = Shop(tmp_path, postgres_database)
    yield made
    for process in made.processes:
        process.close()


def check_up(engine: EngineProcess) -> dict[str, Any]:
    with urllib.request.urlopen(f"{engine.url}/-/check-up", timeout=10) as response:  # noqa: S310 - our own child
        found: dict[str, Any] = json.load(response)
    return found


async def test_sagas_are_copied_also_after_the_engine_was_killed(shop: Shop) -> None:
    engine = await shop.start()
    created = await shop.create(engine)
    await eventually(lambda: shop.copied() == created, "all are copied", timeout_seconds=30)
    assert check_up(engine)["store"] | {"lag": 0} == {
        "type": "postgres",
        "status": "OK",
        "code": "",
        "problem": "",
        "lag": 0,
    }
    created |= await shop.create(engine)
    engine.kill()  # whatever of the second half is copied by now
    await shop.start()
    await eventually(lambda: shop.copied() == created, "the rest is copied by the next one", timeout_seconds=30)


async def test_engine_without_a_projector_leaves_it_to_another_process(shop: Shop) -> None:
    engine = await shop.start("--no-projector")
    created = await shop.create(engine)
    assert check_up(engine)["store"] is None
    assert shop.copied() == set()
    projector = await shop.start(command="project")
    await eventually(lambda: shop.copied() == created, "all are copied", timeout_seconds=30)
    created |= await shop.create(engine)
    await eventually(lambda: shop.copied() == created, "the new ones too", timeout_seconds=30)
    assert projector.terminate() == 0
    assert engine.is_ready()
