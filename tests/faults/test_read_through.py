"""Sagas in flight under Flow Manager, in its documents: they go on here, also when their store is away at first."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from dev.engine_process import EngineProcess
from dev.mongo import MongoServer
from flowmachine.wire.message import encode_message
from tests.support.databases import start_mongo
from tests.support.engines import assert_audit_is_clean
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker, produce
from tests.support.orders import FinalStates, create_sagas, prepare_orders, read_commands, running_participants

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SAGAS = int(os.environ.get("FLOWMACHINE_TEST_TAKEOVER_SAGAS", "1000"))
"""10,000 for the long version: the server that stands in for MongoDB takes some 500 documents a second, fewer the more
it has, because it uses an index only for a filter of nothing else, and a guarded replacement's has more."""
OWN = 200


@pytest.fixture
def server() -> Iterator[MongoServer]:
    """A server of the test's own, to be stopped."""
    started = start_mongo()
    yield started
    started.__exit__(None, None, None)


def document(saga_id: str) -> dict[str, Any]:
    """An order that Flow Manager has created: it waits for its payment."""
    at = "2024-05-02T10:00:00.000Z"
    state = {"state": "created", "timestamp": at, "businessStateId": 0, "businessStateDescription": "open"}
    return {
        "sagaId": saga_id,
        "latestEvent": "__created__",
        "history": {"states": [state], "events": [{"event": "__created__", "timestamp": at}]},
        "currentState": "created",
        "associatedEntityId": saga_id,
        "isFinal": False,
        "businessStateId": 0,
        "businessStateDescription": "open",
        "metadata": {"order": saga_id, "from": "flow manager"},
    }


def status_of(engine: EngineProcess, saga_id: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{engine.url}/sagas/{saga_id}", timeout=10) as response:  # noqa: S310 - our child
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, None


@pytest.mark.timeout(900)
async def test_sagas_of_flow_manager_are_taken_over_and_complete(
    kafka_broker: KafkaBroker, tmp_path: Path, server: MongoServer
) -> None:
    orders = await prepare_orders(kafka_broker.bootstrap, tmp_path)
    written = yaml.safe_load(orders.file.read_text())
    written["spec"]["persistence"] = {
        "type": "mongo",
        "readThrough": True,
        "configurations": {"connectionUri": f"{server.uri}/orders", "collectionName": "sagas"},
    }
    orders.file.write_text(yaml.safe_dump(written))
    theirs = [f"theirs-{number:06d}" for number in range(SAGAS)]
    with MongoClient[dict[str, Any]](f"{server.uri}/orders") as client:
        client.orders.sagas.insert_many([document(saga_id) for saga_id in theirs])
    await asyncio.to_thread(server.stop)

    engine = EngineProcess(orders.file)
    try:
        await asyncio.to_thread(engine.start)
        finals = FinalStates(orders)
        async with running_participants(orders):
            paid = encode_message("paymentExecuted", {"paid": True})
            await produce(orders.bootstrap, orders.events, [(saga_id.encode(), paid, None, []) for saga_id in theirs])
            await produce(orders.bootstrap, orders.events, [(b"nobody's", paid, None, [])])
            own = await create_sagas(orders, OWN)
            await finals.wait_for(own, timeout_seconds=120)  # held back are only those that the store must tell about
            assert status_of(engine, theirs[0])[0] == 503
            await asyncio.to_thread(engine.kill)  # what waits is in the log
            await asyncio.to_thread(engine.start)
            assert engine.is_ready()
            await asyncio.to_thread(server.start)
            await finals.wait_for(theirs, timeout_seconds=300)
        assert {state for states in finals.by_saga.values() for state in states} == {"delivered"}
        _, saga = status_of(engine, theirs[77])
        assert saga["metadata"]["from"] == "flow manager"
        assert [entry["state"] for entry in saga["history"]["states"]] == ["created", "paid", "prepared", "delivered"]
        commands = await read_commands(orders, None)
        assert all(commands[saga_id] == ["prepareOrder", "deliverOrder"] for saga_id in theirs), "each once, in order"
        await eventually(lambda: status_of(engine, "nobody's")[0] == 404, "the store knows nobody's saga either")

        def all_finished() -> bool:
            with MongoClient[dict[str, Any]](f"{server.uri}/orders") as client:
                return client.orders.sagas.count_documents({"isFinal": True}) == SAGAS + OWN

        await eventually(all_finished, "the documents are brought up to date", timeout_seconds=400)
    finally:
        engine.close()
    # One more: nobody's saga, of which the store was asked too.
    await assert_audit_is_clean(orders.file, OWN, elsewhere=SAGAS + 1)
