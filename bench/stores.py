"""Stores: how many copies each takes when it gets nothing else, in batches like the projector's, new ones and changes.

PostgreSQL and a server of MongoDB's protocol are real; behind `rest` and `crud` is the smallest possible service
(`bench/keeper.py`), so those figures say what our side can do.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass

import msgspec
from yarl import URL

from bench.figures import Figure
from bench.keeper import open_keeper
from bench.lab import Say
from bench.sizes import Sizes
from bench.workload import PAID, lanes, rehearse
from dev.mongo import MongoServer
from dev.postgres import PostgresServer
from flowmachine.adapters.mongo import MongoStore
from flowmachine.adapters.postgres import PostgresStore
from flowmachine.adapters.rest import CrudCalls, HttpStore, RestCalls, open_session
from flowmachine.ports import SagaCopy, SagaStore
from flowmachine.runtime.projector import BATCH_RECORDS_MAX
from flowmachine.wire.record import decode_saga


@dataclass(frozen=True, slots=True)
class StoreRound:
    """What one store says."""

    kind: str
    sagas: int
    new_per_second: float
    changed_per_second: float


async def measure_stores(say: Say, *, sagas: int) -> list[StoreRound]:
    """One after the other."""
    results: list[StoreRound] = []
    for kind, opened in _STORES.items():
        async with opened() as store:
            new = await _time_writes(store, sagas, step=0)
            changed = await _time_writes(store, sagas, step=PAID)
        results.append(StoreRound(kind, sagas, new, changed))
        say(f"store {kind}: {new:,.0f} new and {changed:,.0f} changed sagas/s")
    return results


async def _time_writes(store: SagaStore, sagas: int, *, step: int) -> float:
    """Copies per second of orders that are at this step."""
    saga = decode_saga(rehearse()[step].saga)
    ids = [key.decode() for lane in lanes(sagas) for key in lane]
    copies = [SagaCopy(saga_id, msgspec.structs.replace(saga, associated_entity_id=saga_id)) for saga_id in ids]
    began = time.monotonic()
    for start in range(0, len(copies), BATCH_RECORDS_MAX):
        refused = await store.write(copies[start : start + BATCH_RECORDS_MAX])
        assert not refused
    return len(copies) / (time.monotonic() - began)


@asynccontextmanager
async def _postgres() -> AsyncGenerator[SagaStore]:
    with PostgresServer() as server:
        store = PostgresStore(server.uri, table="sagas", machine="bench")
        yield store
        await store.close()


@asynccontextmanager
async def _mongo() -> AsyncGenerator[SagaStore]:
    with MongoServer() as server:
        store = MongoStore(f"{server.uri}/bench", collection="sagas")
        yield store
        await store.close()


@asynccontextmanager
async def _rest() -> AsyncGenerator[SagaStore]:
    with open_keeper() as url:
        async with open_session() as session:
            yield HttpStore(RestCalls(URL(f"{url}/keep"), "PUT"), session, headers={})


@asynccontextmanager
async def _crud() -> AsyncGenerator[SagaStore]:
    with open_keeper() as url:
        async with open_session() as session:
            yield HttpStore(CrudCalls(URL(f"{url}/sagas")), session, headers={})


_STORES: dict[str, Callable[[], AbstractAsyncContextManager[SagaStore]]] = {
    "postgres": _postgres,
    "mongo": _mongo,
    "rest": _rest,
    "crud": _crud,
}


async def run(sizes: Sizes, say: Say) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(await measure_stores(say, sagas=sizes.store_sagas))


def build_figures(rounds: Sequence[StoreRound]) -> list[Figure]:
    """What each store takes."""
    return [
        Figure(f"stores.{one.kind}_{what}", f"{one.kind}, {what} sagas", value, "sagas/s", (asdict(one),))
        for one in rounds
        for what, value in (("new", one.new_per_second), ("changed", one.changed_per_second))
    ]
