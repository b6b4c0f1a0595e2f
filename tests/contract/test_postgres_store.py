"""The store on PostgreSQL keeps the contract, and says what is wrong with its database."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from dev.postgres import PostgresServer
from flowmachine.adapters.postgres import PostgresStore
from flowmachine.adapters.postgres.schema import MIGRATIONS
from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Refused, SagaCopy, SagaFilter
from flowmachine.wire.document import decode_document
from tests.contract.store_contract import QueryContract, StoreContract, one, order_after
from tests.support.builders import NOW_MS

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"


class PostgresHarness:
    is_whole = True
    retention_finished_ms = 60_000

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.stores: list[PostgresStore] = []

    def make_store(self, *, uri: str | None = None, **arguments: Any) -> PostgresStore:
        defaults = {"table": "sagas", "machine": "shop", "retention_finished_ms": self.retention_finished_ms}
        store = PostgresStore(uri or self.uri, **(defaults | arguments))
        self.stores.append(store)
        return store

    def make_queries(self) -> PostgresStore:
        return self.make_store()

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        saga = msgspec.structs.replace(
            decode_document(msgspec.json.encode(document)),
            created_at="2025-01-01T00:00:00.000Z",
            updated_at="2025-01-01T00:00:00.000Z",
            seq=document["seq"],
        )
        await self.make_store().write([SagaCopy(saga_id, saga)])

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def harness(postgres_database: str) -> AsyncGenerator[PostgresHarness]:
    made = PostgresHarness(postgres_database)
    yield made
    for store in made.stores:
        await store.close()


class TestPostgresStore(StoreContract, QueryContract):
    """The suite on PostgreSQL."""


async def fault_of(store: PostgresStore) -> tuple[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        await one(store, "order-1", order_after(0))
    assert "hunter2" not in str(caught.value)
    return caught.value.problems[0].code, caught.value.problems[0].message


# --- the table --------------------------------------------------------------------------------------------------------


async def test_columns_are_what_the_page_says(harness: PostgresHarness) -> None:
    await one(harness.make_store(), "order-1", order_after(2, metadata={"total": 3}))
    found = harness.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'sagas' "
        "ORDER BY ordinal_position"
    )
    documented = re.findall(r"^\| `(\w+)` \| ([a-z]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert documented == [(name, kind.replace("timestamp with time zone", "timestamptz")) for name, kind in found]
    assert harness.execute(
        "SELECT current_state, business_state_id = '1', metadata->>'total', history->'states'->0->>'state' FROM sagas"
    ) == [("delivering", True, "3", "paying")]


def test_page_has_the_statements_that_make_the_table() -> None:
    page = " ".join(PAGE.read_text("utf-8").split())
    for statement in MIGRATIONS[0]:
        assert " ".join(statement.format(table="sagas").split()) in page


async def test_machines_share_a_table(harness: PostgresHarness) -> None:
    shop, bank = harness.make_store(), harness.make_store(machine="bank")
    await asyncio.gather(one(shop, "order-1", order_after(3)), one(bank, "order-1", order_after(0)))
    assert harness.execute("SELECT machine, current_state FROM sagas ORDER BY 1") == [
        ("bank", "paying"),
        ("shop", "delivered"),
    ]
    found = await bank.query(SagaFilter(), after=None, limit=10)
    assert [copy.saga.current_state for copy in found] == ["paying"]
    await bank.tend(NOW_MS + 10**9)
    assert len(await shop.read(["order-1"])) == 1


async def test_table_may_be_in_another_schema(harness: PostgresHarness) -> None:
    harness.execute("CREATE SCHEMA flows")
    await one(harness.make_store(table="flows.orders"), "order-1", order_after(0))
    assert harness.execute("SELECT saga_id FROM flows.orders") == [("order-1",)]


async def test_many_engines_start_at_once(harness: PostgresHarness) -> None:
    await asyncio.gather(*(one(harness.make_store(), f"order-{n}", order_after(0)) for n in range(8)))
    assert harness.execute("SELECT count(*) FROM sagas") == [(8,)]


# --- what has to be put right -----------------------------------------------------------------------------------------


async def test_wrong_password_and_missing_database_are_named(
    harness: PostgresHarness, postgres_server: PostgresServer
) -> None:
    wrong = harness.make_store(uri=postgres_server.uri_of("postgres", "hunter2"))
    assert (await fault_of(wrong))[0] == "store-credentials"
    elsewhere = harness.make_store(uri=f"{postgres_server.uri}x")
    assert (await fault_of(elsewhere))[0] == "store-missing"


async def test_missing_table_is_named_and_found_once_it_is_there(harness: PostgresHarness) -> None:
    store = harness.make_store(create_table=False)
    code, message = await fault_of(store)
    assert (code, "'sagas' does not exist" in message) == ("store-missing", True)
    await one(harness.make_store(), "order-2", order_after(0))
    assert await one(store, "order-1", order_after(0)) == []
    harness.execute("DROP TABLE sagas")
    assert (await fault_of(store))[0] == "store-missing"


async def test_dropped_table_is_made_again(harness: PostgresHarness) -> None:
    store = harness.make_store()
    await one(store, "order-1", order_after(0))
    harness.execute("DROP TABLE sagas")
    assert (await fault_of(store))[0] == "store-missing"
    assert await one(store, "order-1", order_after(0)) == []


async def test_missing_right_is_named(harness: PostgresHarness, postgres_server: PostgresServer) -> None:
    await one(harness.make_store(), "order-1", order_after(0))
    harness.execute("CREATE ROLE reader LOGIN PASSWORD 'hunter2'")
    try:
        harness.execute("GRANT SELECT ON sagas TO reader")
        store = harness.make_store(uri=postgres_server.uri_of("reader", "hunter2", harness.uri.rpartition("/")[2]))
        assert len(await store.read(["order-1"])) == 1
        code, message = await fault_of(store)
        assert (code, "sagas" in message) == ("store-permission", True)
    finally:
        harness.execute("DROP OWNED BY reader")
        harness.execute("DROP ROLE reader")


async def test_table_of_somebody_else_is_left_alone(harness: PostgresHarness) -> None:
    harness.execute("CREATE TABLE sagas (saga_id text)")
    assert (await fault_of(harness.make_store()))[0] == "store-foreign"
    harness.execute("COMMENT ON TABLE sagas IS 'FlowMachine sagas, version 99'")
    code, message = await fault_of(harness.make_store())
    assert (code, "newer" in message) == ("store-foreign", True)


def test_uri_that_is_none_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError, match="is not a URI") as caught:
        PostgresStore("postgresql://u:hunter2@h:1/x?nonsense=1", table="sagas", machine="shop")
    assert "hunter2" not in str(caught.value)


async def test_server_that_is_not_there_is_transient(harness: PostgresHarness) -> None:
    store = harness.make_store(uri="postgresql://u:hunter2@127.0.0.1:1/x")
    with pytest.raises(TransientError) as caught:
        await store.read(["order-1"])
    assert "hunter2" not in str(caught.value)


# --- data that does not fit -------------------------------------------------------------------------------------------


async def test_sagas_that_do_not_fit_are_refused_and_the_others_kept(harness: PostgresHarness) -> None:
    store = harness.make_store()
    copies = [SagaCopy(f"order-{n:02d}", order_after(0)) for n in range(40)]
    copies[7] = SagaCopy("order-07", order_after(0, metadata={"text": "a\x00b"}))
    copies[23] = SagaCopy("".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(5_000)), order_after(0))
    refused = await store.write(copies)
    assert {each.saga_id for each in refused} == {copies[7].saga_id, copies[23].saga_id}
    assert harness.execute("SELECT count(*) FROM sagas") == [(38,)]


async def test_row_that_somebody_broke_is_refused_on_reading(harness: PostgresHarness) -> None:
    store = harness.make_store()
    await store.write([SagaCopy("order-1", order_after(1)), SagaCopy("order-2", order_after(1))])
    harness.execute("UPDATE sagas SET metadata = '[1]' WHERE saga_id = 'order-1'")
    found = await store.read(["order-1", "order-2", "a\x00b"])
    assert isinstance(found["order-1"], Refused)
    assert isinstance(found["order-2"], Saga)
    assert [copy.saga_id for copy in await store.query(SagaFilter(), after=None, limit=10)] == ["order-2"]
