"""The store on MongoDB's protocol keeps the contract, and Flow Manager's readers find what they know."""

import gc
import warnings
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo import AsyncMongoClient

from flowmachine.adapters.mongo import MongoStore
from flowmachine.core.payload import decode_payload
from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Refused, SagaCopy
from tests.contract.store_contract import QueryContract, StoreContract, flow_manager_view, one, order_after
from tests.support.builders import as_json


class MongoHarness:
    is_whole = True
    retention_finished_ms = None

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
        self.sagas = self.client.get_default_database()["sagas"]
        self.stores: list[MongoStore] = []

    def make_store(self) -> MongoStore:
        store = MongoStore(self.uri, collection="sagas")
        self.stores.append(store)
        return store

    def make_queries(self) -> MongoStore:
        return self.make_store()

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        """As Flow Manager does: it knows nothing of `seq`."""
        known = {name: value for name, value in document.items() if name != "seq"}
        await self.sagas.replace_one({"sagaId": saga_id}, known, upsert=True)


@pytest.fixture(autouse=True)
def _sockets_left_by_pymongo() -> Iterator[None]:
    """Collect them here, or the collector complains in whatever test comes next.

    A monitor of pymongo's that is cancelled while it connects leaves its socket open.
    """
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
async def harness(mongo_database: str) -> AsyncGenerator[MongoHarness]:
    made = MongoHarness(mongo_database)
    yield made
    for store in made.stores:
        await store.close()
    await made.client.close()


class TestMongoStore(StoreContract, QueryContract):
    """The suite on MongoDB's protocol."""


async def test_document_is_flow_manager_s_with_one_field_more(harness: MongoHarness) -> None:
    saga = order_after(2, metadata={"total": 3})
    await one(harness.make_store(), "order-1", saga)
    document = await harness.sagas.find_one({"sagaId": "order-1"}, {"_id": False})
    assert document is not None
    ours = document.pop("flowmachine")
    assert document == {"sagaId": "order-1", **flow_manager_view(saga)}
    assert ours["seq"] == saga.seq
    await one(harness.make_store(), "order-1", order_after(3))
    assert await harness.sagas.count_documents({}) == 1


async def test_large_documents_are_refused_and_the_others_kept(harness: MongoHarness) -> None:
    copies = [SagaCopy(f"order-{n}", order_after(0)) for n in range(5)]
    copies[1] = SagaCopy("order-1", order_after(0, metadata={"text": "x" * 17_000_000}))
    copies[3] = SagaCopy("order-3", order_after(0, metadata={"number": 2**70}))
    refused = await harness.make_store().write(copies)
    assert {each.saga_id for each in refused} == {"order-1", "order-3"}
    assert await harness.sagas.count_documents({}) == 3


async def test_document_that_is_no_saga_is_refused_on_reading(harness: MongoHarness) -> None:
    await harness.sagas.insert_one({"sagaId": "order-1", "currentState": 5})
    found = await harness.make_store().read(["order-1"])
    assert isinstance(found["order-1"], Refused)


async def test_other_types_of_bson_are_read(harness: MongoHarness) -> None:
    document = {"sagaId": "order-1", **flow_manager_view(order_after(1))}
    at = datetime(2024, 5, 2, 10, tzinfo=UTC)
    document["history"]["states"][0]["timestamp"] = at
    document["metadata"] = {"id": ObjectId("0" * 24), "n": Int64(5), "d": Decimal128("1.5"), "at": at}
    await harness.sagas.insert_one(document)
    saga = (await harness.make_store().read(["order-1"]))["order-1"]
    assert isinstance(saga, Saga)
    assert decode_payload(saga.metadata) == {"id": "0" * 24, "n": 5, "d": "1.5", "at": "2024-05-02T10:00:00Z"}
    assert saga.created_at == "2024-05-02T10:00:00.000Z"
    assert as_json(saga)["seq"] == 2


async def test_doubled_documents_are_named(harness: MongoHarness) -> None:
    for _ in range(2):
        await harness.sagas.insert_one({"sagaId": "order-1", **flow_manager_view(order_after(1))})
    with pytest.raises(ConfigurationError, match="several documents with one sagaId") as caught:
        await one(harness.make_store(), "order-1", order_after(2))
    assert caught.value.problems[0].code == "store-foreign"


@pytest.mark.parametrize("uri", ["mongodb://u:hunter2@h:1", "mongodb://u:hunter2@h:port/x", "mysql://u:hunter2@h/x"])
def test_uri_that_is_none_is_refused_without_being_shown(uri: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MongoStore(uri, collection="sagas")
    assert "hunter2" not in str(caught.value)


async def test_server_that_is_not_there_is_transient() -> None:
    store = MongoStore("mongodb://127.0.0.1:1/x", collection="sagas")
    with pytest.raises(TransientError):
        await store.read(["order-1"])
    await store.close()
