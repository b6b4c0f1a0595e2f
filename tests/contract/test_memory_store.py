"""The store that tests use keeps the contract, so it may stand for a real one."""

from typing import Any

import msgspec
import pytest

from flowmachine.wire.document import decode_document
from tests.contract.store_contract import QueryContract, StoreContract
from tests.support.store_fakes import InMemoryStore


class MemoryHarness:
    is_whole = True
    retention_finished_ms = 60_000

    def __init__(self) -> None:
        self._store = InMemoryStore(retention_finished_ms=self.retention_finished_ms)

    def make_store(self) -> InMemoryStore:
        return self._store

    def make_queries(self) -> InMemoryStore:
        return self._store

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        saga = decode_document(msgspec.json.encode(document))
        self._store.sagas[saga_id] = msgspec.structs.replace(saga, seq=document["seq"])


@pytest.fixture
def harness() -> MemoryHarness:
    return MemoryHarness()


class TestMemoryStore(StoreContract, QueryContract):
    """The suite on the fake."""
