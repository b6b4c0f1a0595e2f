"""What every `flowmachine.ports.SagaStore` keeps, as one suite; each implementation subclasses it with a harness.

    class TestPostgresStore(StoreContract, QueryContract)   + a fixture `harness`
    class TestRestStore(StoreContract)                      + a fixture `harness`

Only the port and the harness are used. Several handles on one store may be open at once: two projectors.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from flowmachine.core.payload import decode_payload
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.ports import Refused, SagaCopy, SagaFilter, SagaQueries, SagaStore
from tests.support.builders import NOW_MS, as_json, event, order_machine, rest_machine, saga_after

PATH = ("paymentExecuted", "orderPrepared", "orderDelivered")


class StoreHarness(Protocol):
    """One store, empty at the start of a test, and ways around the port to look at it and to change it."""

    is_whole: bool
    """Whether it keeps all of a saga; otherwise Flow Manager's nine fields, and `seq` is the length of the history."""

    retention_finished_ms: int | None
    """After this time `tend` removes finished sagas; None: never."""

    def make_store(self) -> SagaStore:
        """A new handle; the harness closes it after the test."""
        ...

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        """Put a saga there as another program would: Flow Manager's fields and, in a whole store, `seq`."""
        ...


class QueryHarness(StoreHarness, Protocol):
    """As before, for stores that can be searched."""

    def make_queries(self) -> SagaQueries:
        """A new handle; the harness closes it after the test."""
        ...


def order_after(count: int, *, metadata: dict[str, Any] | None = None, at_ms: int = NOW_MS) -> Saga:
    """An order after `count` of its events."""
    return saga_after(order_machine(), *PATH[:count], metadata=metadata, at_ms=at_ms)


def one(store: SagaStore, saga_id: str, saga: Saga) -> "asyncio.Task[Sequence[Refused]]":
    return asyncio.ensure_future(store.write([SagaCopy(saga_id, saga)]))


async def read_one(store: SagaStore, saga_id: str) -> Saga | None:
    found = (await store.read([saga_id])).get(saga_id)
    assert not isinstance(found, Refused), found
    return found


def flow_manager_view(saga: Saga) -> dict[str, Any]:
    """The nine fields, without the id: what every store must give back."""
    whole = as_json(saga)
    names = (
        "latestEvent",
        "history",
        "currentState",
        "associatedEntityId",
        "businessStateId",
        "businessStateDescription",
        "metadata",
    )
    return {name: whole[name] for name in names} | {"isFinal": saga.is_final}


class StoreContract:
    """The suite."""

    async def test_what_is_written_can_be_read(self, harness: StoreHarness) -> None:
        store, saga = harness.make_store(), order_after(2, metadata={"total": 12.5, "lines": [{"sku": "a", "n": 2}]})
        assert await one(store, "order-1", saga) == []
        found = await read_one(store, "order-1")
        assert found is not None
        assert flow_manager_view(found) == flow_manager_view(saga)
        assert found.seq == saga.seq
        assert await store.read(["order-2"]) == {}
        assert await store.read([]) == {}

    async def test_whole_saga_is_kept_where_there_is_room(self, harness: StoreHarness) -> None:
        store, saga = harness.make_store(), saga_after(rest_machine(), event("step", {"a": 1}), "step")
        await one(store, "order-1", saga)
        found = await read_one(store, "order-1")
        assert found is not None
        if harness.is_whole:
            assert as_json(found) == as_json(saga)
        else:
            assert flow_manager_view(found) == flow_manager_view(saga)

    async def test_unusual_texts_survive(self, harness: StoreHarness) -> None:
        metadata = {
            "": None,
            "a.b": {"$set": 1},
            "€uro 🚀": "\"'\\ \n\t",
            "_id": 5,
            "deep": [[{"x": [True, False, 0.1, -1]}]],
        }
        store, saga = harness.make_store(), order_after(1, metadata=metadata)
        saga_id = "prefix/ü?&=#%20 '\"order"
        assert await one(store, saga_id, saga) == []
        found = await read_one(store, saga_id)
        assert found is not None
        assert decode_payload(found.metadata) == metadata

    async def test_later_copy_replaces_an_earlier_one(self, harness: StoreHarness) -> None:
        store = harness.make_store()
        for count in range(4):
            await one(store, "order-1", order_after(count))
        found = await read_one(store, "order-1")
        assert found is not None
        assert (found.current_state, found.is_final) == ("delivered", True)

    async def test_earlier_copy_never_sets_a_saga_back(self, harness: StoreHarness) -> None:
        await one(harness.make_store(), "order-1", order_after(3))
        store = harness.make_store()
        assert await one(store, "order-1", order_after(1)) == []
        found = await read_one(store, "order-1")
        assert found is not None
        assert found.current_state == "delivered"

    async def test_saga_that_another_program_took_further_is_not_set_back(self, harness: StoreHarness) -> None:
        ahead = order_after(3, metadata={"by": "hand"})
        await harness.put("order-1", {"sagaId": "order-1", **flow_manager_view(ahead), "seq": 4})
        store = harness.make_store()
        await store.write([SagaCopy("order-1", order_after(2)), SagaCopy("order-2", order_after(0))])
        found = await store.read(["order-1", "order-2"])
        assert isinstance(found["order-1"], Saga)
        assert isinstance(found["order-2"], Saga)
        assert decode_payload(found["order-1"].metadata) == {"by": "hand"}
        assert found["order-2"].current_state == "paying"

    async def test_saga_that_another_program_left_behind_is_brought_up_to_date(self, harness: StoreHarness) -> None:
        await harness.put("order-1", {"sagaId": "order-1", **flow_manager_view(order_after(1)), "seq": 2})
        store = harness.make_store()
        await one(store, "order-1", order_after(3))
        found = await read_one(store, "order-1")
        assert found is not None
        assert found.current_state == "delivered"

    async def test_large_batch_is_kept_whole_and_may_come_twice(self, harness: StoreHarness) -> None:
        copies = [SagaCopy(f"order-{n}", order_after(n % 4, metadata={"n": n})) for n in range(300)]
        store = harness.make_store()
        for _ in range(2):
            assert await store.write(copies) == []
        found = await store.read([copy.saga_id for copy in copies])
        assert len(found) == 300
        for copy in copies:
            kept = found[copy.saga_id]
            assert isinstance(kept, Saga)
            assert flow_manager_view(kept) == flow_manager_view(copy.saga)

    async def test_two_projectors_at_once_end_at_the_latest(self, harness: StoreHarness) -> None:
        sagas = [f"order-{n}" for n in range(20)]

        async def project(store: SagaStore) -> None:
            for count in range(4):
                await store.write([SagaCopy(saga_id, order_after(count)) for saga_id in sagas])

        await asyncio.gather(project(harness.make_store()), project(harness.make_store()))
        found = await harness.make_store().read(sagas)
        states = {saga.current_state if isinstance(saga, Saga) else "refused" for saga in found.values()}
        assert (len(found), states) == (20, {"delivered"})

    async def test_finished_sagas_go_after_their_time_and_no_others(self, harness: StoreHarness) -> None:
        store = harness.make_store()
        await store.write([SagaCopy("done", order_after(3)), SagaCopy("open", order_after(1))])
        await store.tend(NOW_MS)
        assert set(await store.read(["done", "open"])) == {"done", "open"}
        await store.tend(NOW_MS + (harness.retention_finished_ms or 10**12) + 1)
        left = {"open"} if harness.retention_finished_ms is not None else {"done", "open"}
        assert set(await store.read(["done", "open"])) == left


class QueryContract:
    """For stores that can be searched."""

    async def fill(self, harness: QueryHarness) -> list[SagaCopy]:
        copies = [
            SagaCopy(
                f"{'Zz' if n % 2 else 'aa'}-{n:02d}",
                msgspec.structs.replace(
                    order_after(n % 4, at_ms=NOW_MS + n * 1000), associated_entity_id=f"entity-{n % 3}"
                ),
            )
            for n in range(20)
        ]
        await harness.make_store().write(copies)
        return sorted(copies, key=lambda copy: copy.saga_id.encode())

    async def test_pages_list_everything_once_in_order(self, harness: QueryHarness) -> None:
        copies = await self.fill(harness)
        queries = harness.make_queries()
        found: list[SagaCopy] = []
        while page := await queries.query(SagaFilter(), after=found[-1].saga_id if found else None, limit=7):
            assert len(page) <= 7
            found += page
        assert [copy.saga_id for copy in found] == [copy.saga_id for copy in copies]
        assert [as_json(copy.saga) for copy in found] == [as_json(copy.saga) for copy in copies]

    async def test_saga_that_moves_between_pages_is_listed_once(self, harness: QueryHarness) -> None:
        copies = await self.fill(harness)
        queries, store = harness.make_queries(), harness.make_store()
        first = await queries.query(SagaFilter(), after=None, limit=10)
        await store.write([SagaCopy(copy.saga_id, order_after(3)) for copy in copies])
        rest = await queries.query(SagaFilter(), after=first[-1].saga_id, limit=100)
        assert [copy.saga_id for copy in (*first, *rest)] == [copy.saga_id for copy in copies]

    async def test_filters_select(self, harness: QueryHarness) -> None:
        copies = await self.fill(harness)
        queries = harness.make_queries()
        latest = max(copy.saga.updated_at for copy in copies)

        async def ids(**wanted: Any) -> list[str]:
            return [copy.saga_id for copy in await queries.query(SagaFilter(**wanted), after=None, limit=100)]

        def expected(condition: Any) -> list[str]:
            return [copy.saga_id for copy in copies if condition(copy.saga)]

        assert await ids(state="preparing") == expected(lambda saga: saga.current_state == "preparing")
        assert await ids(business_state="1") == expected(lambda saga: saga.business_state_id == 1)
        assert await ids(business_state="2") == expected(lambda saga: saga.business_state_id == 2)
        assert await ids(entity="entity-1") == expected(lambda saga: saga.associated_entity_id == "entity-1")
        assert await ids(is_final=True) == expected(lambda saga: saga.is_final)
        assert await ids(is_final=False) == expected(lambda saga: not saga.is_final)
        assert await ids(updated_before=latest) == expected(lambda saga: saga.updated_at < latest)
        assert await ids(state="paying", entity="entity-0", is_final=False) == expected(
            lambda saga: saga.current_state == "paying" and saga.associated_entity_id == "entity-0"
        )
        assert await ids(state="nowhere") == []
        assert parse_timestamp(latest) == NOW_MS + 19_000
