"""The projector on a store in memory: what it writes, when it commits, and what it says about a store that fails."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.runtime import projector as module
from flowmachine.runtime.projector import Projector
from flowmachine.wire.record import encode_saga
from tests.contract.store_contract import order_after
from tests.support.builders import NOW_MS, SAGAS, record
from tests.support.eventually import eventually
from tests.support.store_fakes import HandedChanges, InMemoryStore, RecordingStoreObserver


class Bench:
    """A projector with everything around it."""

    def __init__(self) -> None:
        self.store = InMemoryStore()
        self.changes = HandedChanges()
        self.observer = RecordingStoreObserver()
        self.projector = Projector(
            kind="memory", changes=self.changes, store=self.store, observer=self.observer, clock=lambda: NOW_MS
        )

    def put(self, saga_id: str, saga: Saga | None) -> None:
        value = None if saga is None else encode_saga(saga)
        self.changes.records.append(record(value, key=saga_id, topic=SAGAS, offset=len(self.changes.records)))

    async def settled(self) -> None:
        await eventually(lambda: self.changes.committed == len(self.changes.records), "everything is committed")


@asynccontextmanager
async def running(bench: Bench) -> AsyncGenerator[None]:
    task = asyncio.create_task(bench.projector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "PAUSE_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(module, "PAUSE_SECONDS_MAX", 0.005)
    monkeypatch.setattr(module, "LAG_SECONDS", 0.01)
    return Bench()


async def test_latest_copy_of_each_saga_is_written_and_then_committed(bench: Bench) -> None:
    for count in range(4):
        bench.put("order-1", order_after(count))
    bench.put("order-2", order_after(1))
    async with running(bench):
        await bench.settled()
    assert {saga_id: saga.current_state for saga_id, saga in bench.store.sagas.items()} == {
        "order-1": "delivered",
        "order-2": "preparing",
    }
    assert bench.observer.counts["written"] == 2
    assert not bench.changes.is_running


async def test_tombstone_leaves_the_copy(bench: Bench) -> None:
    bench.put("order-1", order_after(3))
    bench.put("order-1", None)
    async with running(bench):
        await bench.settled()
    assert set(bench.store.sagas) == {"order-1"}


async def test_nothing_is_committed_before_the_store_has_answered(bench: Bench) -> None:
    bench.store.gate.clear()
    bench.put("order-1", order_after(0))
    async with running(bench):
        await eventually(lambda: bench.changes.fetched == 1, "the record is fetched")
        assert bench.changes.committed == 0
        bench.store.gate.set()
        await bench.settled()


async def test_store_that_is_away_gets_the_batch_later_and_is_named_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.store.error = TransientError("connection refused")
    bench.put("order-1", order_after(0))
    with caplog.at_level(logging.WARNING):
        async with running(bench):
            await eventually(lambda: bench.observer.counts["transient"] > 5, "it has been tried several times")
            status = bench.projector.status()
            assert (status.kind, status.code, status.problem) == ("memory", "transient", "connection refused")
            assert bench.observer.is_available is False
            assert bench.changes.committed == 0
            bench.store.error = None
            await bench.settled()
            await eventually(lambda: bench.observer.lag == 0, "the lag is gone")
    assert bench.observer.is_available is True
    assert bench.projector.status().problem == ""
    assert [entry.levelname for entry in caplog.records] == ["ERROR", "WARNING"], (
        "one line each for the end and the start"
    )


async def test_what_must_be_put_right_is_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.error = ConfigurationError.of("store", "store-credentials", "the password is wrong")
    async with running(bench):
        await eventually(lambda: bench.observer.counts["store-credentials"] > 0, "seen without any saga")
        assert bench.projector.status().code == "store-credentials"


async def test_refused_copy_does_not_hold_back_the_others(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.refuses = lambda copy: copy.saga_id == "large"
    for saga_id in ("a", "large", "b"):
        bench.put(saga_id, order_after(0))
    async with running(bench):
        await bench.settled()
    assert set(bench.store.sagas) == {"a", "b"}
    assert bench.observer.counts["refused"] == 1
    assert [getattr(entry, "saga_id", None) for entry in caplog.records] == ["large"]


async def test_foreign_record_is_passed_over(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.changes.records.append(record(b"no saga", key="foreign", topic=SAGAS))
    bench.put("order-1", order_after(0))
    async with running(bench):
        await bench.settled()
    assert set(bench.store.sagas) == {"order-1"}
    assert "not copied" in caplog.text


async def test_large_sagas_go_in_several_calls(bench: Bench) -> None:
    for number in range(10):
        bench.put(f"order-{number}", order_after(0, metadata={"text": "x" * 1_000_000}))
    async with running(bench):
        await bench.settled()
    assert len(bench.store.sagas) == 10
    assert bench.store.writes > 1


async def test_log_that_is_away_is_tried_again(bench: Bench) -> None:
    bench.changes.error = TransientError("the brokers are away")
    bench.put("order-1", order_after(0))
    async with running(bench):
        await bench.settled()
    assert set(bench.store.sagas) == {"order-1"}


async def test_whole_topic_twice_gives_the_same(bench: Bench) -> None:
    for count in range(4):
        bench.put("order-1", order_after(count))
    async with running(bench):
        await bench.settled()
    before = dict(bench.store.sagas)
    bench.changes.committed = bench.changes.fetched = 0
    async with running(bench):
        await bench.settled()
    assert bench.store.sagas == before


async def test_store_without_room_works_and_says_so(bench: Bench) -> None:
    bench.store.full = "there are 3: that is the bound"
    bench.put("order-1", order_after(0))
    async with running(bench):
        await bench.settled()
        status = bench.projector.status()
        assert (status.code, status.problem) == ("store-full", bench.store.full)
        assert bench.observer.is_available is True
    bench.store.full = ""
    assert bench.projector.status().code == ""
