"""Lists from the engines: every saga once, from whichever engine owns it, with a bounded amount of work per page."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from flowmachine.core.phases import Phase
from flowmachine.errors import TransientError
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.ports import Assignment, SagaCopy
from flowmachine.runtime import listing
from flowmachine.runtime.listing import EngineListing, StoreListing
from flowmachine.wire.listing import CursorError, SagaFilter, SagaPage, Scan, ScanRequest
from flowmachine.wire.record import encode_saga
from tests.support.builders import order_machine, saga_after
from tests.support.store_fakes import InMemoryStore

ORDERS = order_machine()
PAYING = encode_saga(saga_after(ORDERS))
PREPARING = encode_saga(saga_after(ORDERS, "paymentExecuted"))
FAILED = encode_saga(saga_after(ORDERS, "paymentFailed"))
HOMES = 3


class Cluster:
    """Engines that own home partitions, and reach each other by their address; the listing sees no more of them."""

    def __init__(self, *owned: Sequence[int]) -> None:
        self.tasks = [
            {
                number: SimpleNamespace(phase=Phase.RUNNING, partition=SimpleNamespace(sagas=PartitionSagas()))
                for number in numbers
            }
            for numbers in owned
        ]
        owners = {number: str(engine) for engine, numbers in enumerate(owned) for number in numbers}
        self.listings = [EngineListing(self._engine(number, owners), self) for number in range(len(owned))]
        self.peer_calls = 0

    def _engine(self, number: int, owners: dict[int, str]) -> Any:
        return SimpleNamespace(
            topics=SimpleNamespace(home_partitions=HOMES),
            assignment=Assignment(frozenset(self.tasks[number]), owners, {}, 1),
            task=self.tasks[number].get,
        )

    async def read(self, address: str, saga_id: str) -> bytes | None:
        raise NotImplementedError

    async def scan(self, address: str, request: ScanRequest) -> Scan:
        self.peer_calls += 1
        return await self.listings[int(address)].scan(request, is_from_peer=True)

    def sagas(self, partition: int) -> PartitionSagas:
        return next(tasks[partition].partition.sagas for tasks in self.tasks if partition in tasks)

    def fill(self, count: int, record: bytes = PAYING) -> list[str]:
        ids = [f"order-{number:04d}" for number in range(count)]
        for number, saga_id in enumerate(ids):
            self.sagas(number % HOMES).restore(saga_id.encode(), record)
        return ids


async def read_pages(finder: EngineListing, limit: int, wanted: SagaFilter | None = None) -> list[SagaPage]:
    pages = [await finder.find(wanted or SagaFilter(), limit=limit, cursor=None)]
    while pages[-1].next_cursor is not None:
        pages.append(await finder.find(wanted or SagaFilter(), limit=limit, cursor=pages[-1].next_cursor))
    return pages


def ids_of(pages: Sequence[SagaPage]) -> list[str]:
    return [saga.saga_id for page in pages for saga in page.sagas]


@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
async def test_every_engine_lists_everything_once_in_one_order(limit: int) -> None:
    cluster = Cluster([0, 2], [1])
    ids = cluster.fill(100)
    first, second = [ids_of(await read_pages(finder, limit)) for finder in cluster.listings]
    assert first == second
    assert sorted(first) == ids
    assert cluster.peer_calls > 0


async def test_page_has_no_more_than_its_limit() -> None:
    cluster = Cluster([0, 1, 2])
    cluster.fill(100)
    assert {len(page.sagas) for page in (await read_pages(cluster.listings[0], 7))[:-1]} == {7}


async def test_summary_says_what_the_record_says() -> None:
    cluster = Cluster([0, 1, 2])
    cluster.sagas(1).restore(b"order-1", FAILED)
    ((saga,),) = [page.sagas for page in await read_pages(cluster.listings[0], 10)]
    expected = saga_after(ORDERS, "paymentFailed")
    assert (saga.saga_id, saga.current_state, saga.is_final, saga.seq) == ("order-1", "failed", True, expected.seq)
    assert (saga.business_state_id, saga.business_state_description) == ("x", "Failed")
    assert (saga.created_at, saga.updated_at) == (expected.created_at, expected.updated_at)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (SagaFilter(state="paying"), ["a"]),
        (SagaFilter(business_state="1"), ["a", "b"]),
        (SagaFilter(business_state="x"), ["c"]),
        (SagaFilter(is_final=True), ["c"]),
        (SagaFilter(is_final=False), ["a", "b"]),
        (SagaFilter(entity="nobody"), []),
        (SagaFilter(entity=saga_after(ORDERS).associated_entity_id, state="preparing"), ["b"]),
        (SagaFilter(updated_before=saga_after(ORDERS).created_at), []),
        (SagaFilter(updated_before="9999-12-31T23:59:59.999Z"), ["a", "b", "c"]),
    ],
)
async def test_filters_select(wanted: SagaFilter, expected: list[str]) -> None:
    cluster = Cluster([0, 1, 2])
    for key, record in ((b"a", PAYING), (b"b", PREPARING), (b"c", FAILED)):
        cluster.sagas(0).restore(key, record)
    assert ids_of(await read_pages(cluster.listings[0], 10, wanted)) == expected


async def test_work_for_a_page_is_bounded_though_nothing_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SCANNED_MAX", 40)
    cluster = Cluster([0, 2], [1])
    cluster.fill(300)
    cluster.sagas(2).restore(b"zz-last", FAILED)
    pages = await read_pages(cluster.listings[0], 10, SagaFilter(is_final=True))
    assert [len(page.sagas) for page in pages[:-1]] == [0] * (len(pages) - 1)
    assert len(pages) == -(-301 // 40)
    assert ids_of(pages) == ["zz-last"]


async def test_sagas_that_move_come_and_go_while_it_is_read_disturb_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SLICE_SAGAS", 5)
    cluster = Cluster([0, 1, 2])
    ids = cluster.fill(120)
    found: list[str] = []
    cursor: str | None = None
    for step in range(1000):
        page = await cluster.listings[0].find(SagaFilter(), limit=3, cursor=cursor)
        found += [saga.saga_id for saga in page.sagas]
        cursor = page.next_cursor
        if cursor is None:
            break
        changed: dict[bytes, bytes | None] = {saga_id.encode(): PREPARING for saga_id in ids[:60:3]}
        changed[f"new-{step}".encode()] = PAYING
        cluster.sagas(0).by_state["paying"] += len(changed)
        cluster.sagas(0).apply(changed, (), 0)
        cluster.sagas(1).apply({ids[61].encode(): None}, (), 0)
    assert len(found) == len(set(found))
    assert set(ids) - set(found) <= {ids[61]}
    for partition in range(HOMES):
        own = [saga_id for saga_id in found if saga_id.encode() in cluster.sagas(partition)]
        assert all(earlier < later for earlier, later in pairwise(own))


async def test_saga_that_appears_while_the_order_is_made_is_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SLICE_SAGAS", 2)
    cluster = Cluster([0, 1, 2])
    cluster.fill(60)

    async def disturb() -> None:
        sagas = cluster.sagas(0)
        await asyncio.sleep(0)
        sagas.restore(b"order-0000", None)
        sagas.restore(b"order-0003", None)
        sagas.restore(b"order-0000", PAYING)
        sagas.restore(b"order-9999", PAYING)

    pages, _ = await asyncio.gather(read_pages(cluster.listings[0], 1000), disturb())
    found = ids_of(pages)
    assert len(found) == len(set(found)) == 60
    assert "order-0003" not in found
    assert {"order-0000", "order-9999"} <= set(found)


async def test_other_tasks_go_on_while_a_large_partition_is_looked_through() -> None:
    cluster = Cluster([0, 1, 2])
    for number in range(5000):
        cluster.sagas(0).restore(f"order-{number}".encode(), PAYING)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count_turns())
    await cluster.listings[0].find(SagaFilter(state="nowhere"), limit=10, cursor=None)
    counter.cancel()
    assert turns >= 2 * 5000 / listing.SLICE_SAGAS


async def test_partition_that_is_not_whole_or_has_no_owner_is_waited_for() -> None:
    cluster = Cluster([0, 2], [1])
    ids = cluster.fill(9)
    task = cluster.tasks[1][1]
    task.phase = Phase.RESTORING
    with pytest.raises(TransientError, match="home partition 1 is restoring"):
        await cluster.listings[0].find(SagaFilter(), limit=100, cursor=None)
    task.phase = Phase.RUNNING
    del cluster.tasks[1][1]
    for finder in cluster.listings:
        with pytest.raises(TransientError, match="home partition 1 is moving to another engine"):
            await finder.find(SagaFilter(), limit=100, cursor=None)
    cluster.tasks[1][1] = task
    assert sorted(ids_of(await read_pages(cluster.listings[0], 100))) == ids


@pytest.mark.parametrize(
    "cursor",
    ["", "nonsense", "ü", "W10", "WyJlbmdpbmUiLDMsIiJd", "WyJlbmdpbmUiLC0xLCIiXQ", "WyJzdG9yZSIsMCwiIl0", "W" * 999],
)
async def test_cursor_of_another_list_is_refused(cursor: str) -> None:
    cluster = Cluster([0, 1, 2])
    with pytest.raises(CursorError):
        await cluster.listings[0].find(SagaFilter(), limit=1, cursor=cursor)


async def test_store_lists_by_id_and_goes_on_with_its_cursor() -> None:
    store = InMemoryStore()
    await store.write([SagaCopy(f"order-{number}", saga_after(ORDERS)) for number in range(9, -1, -1)])
    pages: list[SagaPage] = []
    while not pages or pages[-1].next_cursor is not None:
        cursor = pages[-1].next_cursor if pages else None
        pages.append(await StoreListing(store).find(SagaFilter(), limit=4, cursor=cursor))
    assert ids_of(pages) == [f"order-{number}" for number in range(10)]
    assert pages[0].sagas[0].current_state == "paying"
    with pytest.raises(CursorError):
        await StoreListing(store).find(SagaFilter(), limit=4, cursor="WyJlbmdpbmUiLDAsIiJd")
