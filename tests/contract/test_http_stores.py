"""The stores behind services keep the contract, with Flow Manager's calls, over real sockets."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from flowmachine.adapters.rest import CrudCalls, HttpStore, RestCalls, open_session
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import SagaCopy
from tests.contract.store_contract import StoreContract, flow_manager_view, one, order_after

KEY = {"X-Key": "hunter2"}
FIELDS = {"sagaId", "latestEvent", "history", "currentState", "associatedEntityId", "isFinal", "businessStateId",
          "businessStateDescription", "metadata"}  # fmt: skip


class Service:
    """A persistency service and a CRUD service over one dictionary. `status` makes it answer with that."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.status: dict[str, int] = {}
        self.is_silent = False
        self.calls: list[tuple[str, str]] = []
        self.application = web.Application(middlewares=[self._guard])
        self.application.router.add_route("PUT", "/keep/{id:.+}", self._put)
        self.application.router.add_get("/keep/{id:.+}", self._get)
        self.application.router.add_post("/sagas/upsert-one", self._upsert_one)
        self.application.router.add_get("/sagas/", self._list)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("X-Key") != "hunter2":
            return web.Response(status=401)
        saga_id = request.match_info.get("id") or request.query.get("sagaId", "")
        self.calls.append((request.method, saga_id))
        if self.is_silent:
            await asyncio.Event().wait()
        if request.method != "GET" and saga_id in self.status:
            return web.Response(status=self.status[saga_id])
        response: web.StreamResponse = await handler(request)
        return response

    async def _put(self, request: web.Request) -> web.Response:
        self.documents[request.match_info["id"]] = await request.json()
        return web.Response(status=204)

    async def _get(self, request: web.Request) -> web.Response:
        found = self.documents.get(request.match_info["id"])
        return web.Response(status=404) if found is None else web.json_response(found)

    async def _upsert_one(self, request: web.Request) -> web.Response:
        changes = (await request.json())["$set"]
        self.documents[request.query["sagaId"]] = {**self.documents.get(request.query["sagaId"], {}), **changes}
        return web.json_response({})

    async def _list(self, request: web.Request) -> web.Response:
        found = self.documents.get(request.query["sagaId"])
        return web.json_response([] if found is None else [{"_id": "0", "__STATE__": "PUBLIC", **found}])


class HttpHarness:
    is_whole = False
    retention_finished_ms = None

    def __init__(self, kind: str, service: Service, url: URL, session: aiohttp.ClientSession) -> None:
        self.kind, self.service, self.url, self.session = kind, service, url, session

    def make_store(self, *, url: URL | None = None, headers: dict[str, str] | None = None) -> HttpStore:
        base = url or self.url
        calls = RestCalls(base / "keep", "PUT") if self.kind == "rest" else CrudCalls(base / "sagas")
        return HttpStore(calls, self.session, headers=KEY if headers is None else headers)

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        self.service.documents[saga_id] = {name: value for name, value in document.items() if name != "seq"}


@pytest.fixture(params=["rest", "crud"])
async def harness(request: pytest.FixtureRequest) -> AsyncGenerator[HttpHarness]:
    service = Service()
    async with TestServer(service.application) as server, open_session() as session:
        yield HttpHarness(request.param, service, server.make_url(""), session)


class TestHttpStores(StoreContract):
    """The suite on both services."""


async def test_documents_are_flow_manager_s_and_nothing_else(harness: HttpHarness) -> None:
    saga = order_after(2)
    await one(harness.make_store(), "order-1", saga)
    assert harness.service.documents["order-1"] == {"sagaId": "order-1", **flow_manager_view(saga)}
    assert set(harness.service.documents["order-1"]) == FIELDS


async def test_saga_is_looked_up_once(harness: HttpHarness) -> None:
    store = harness.make_store()
    for count in range(4):
        await one(store, "order-1", order_after(count))
    assert [method for method, _ in harness.service.calls].count("GET") == 1


async def test_refused_saga_does_not_hold_back_the_others(harness: HttpHarness) -> None:
    harness.service.status["order-2"] = 413
    refused = await harness.make_store().write([SagaCopy(f"order-{n}", order_after(0)) for n in range(5)])
    assert [each.saga_id for each in refused] == ["order-2"]
    assert len(harness.service.documents) == 4


@pytest.mark.parametrize(
    ("status", "code"), [(401, "store-credentials"), (403, "store-permission"), (404, "store-missing")]
)
async def test_what_has_to_be_put_right_is_named(harness: HttpHarness, status: int, code: str) -> None:
    harness.service.status["order-1"] = status
    with pytest.raises(ConfigurationError) as caught:
        await one(harness.make_store(), "order-1", order_after(0))
    assert caught.value.problems[0].code == code
    assert "hunter2" not in str(caught.value)


async def test_wrong_header_is_named_without_being_shown(harness: HttpHarness) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await harness.make_store(headers={"X-Key": "hunter3"}).read(["order-1"])
    assert caught.value.problems[0].code == "store-credentials"
    assert "hunter3" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_busy_service_is_transient(harness: HttpHarness, status: int) -> None:
    harness.service.status["order-1"] = status
    with pytest.raises(TransientError, match=str(status)):
        await one(harness.make_store(), "order-1", order_after(0))
    with pytest.raises(TransientError):
        await one(harness.make_store(url=URL("http://127.0.0.1:1")), "order-1", order_after(0))


async def test_redirect_is_not_followed(harness: HttpHarness) -> None:
    harness.service.status["order-1"] = 302
    with pytest.raises(TransientError, match="302"):
        await one(harness.make_store(), "order-1", order_after(0))
    assert harness.service.documents == {}


async def test_service_that_says_nothing_is_transient(harness: HttpHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowmachine.adapters.rest.store.CALL_SECONDS", 0.05)
    harness.service.is_silent = True
    with pytest.raises(TransientError, match=r"no answer within 0\.05 s"):
        await harness.make_store().read(["order-1"])


async def test_answer_of_a_hundred_megabytes_is_not_read_to_its_end(harness: HttpHarness) -> None:
    harness.service.documents["order-1"] = {"currentState": "x" * 100_000_000}
    with pytest.raises(TransientError, match="does not end"):
        await harness.make_store().read(["order-1"])


async def test_answer_that_is_no_saga_is_refused(harness: HttpHarness) -> None:
    await harness.put("order-1", {"currentState": 5})
    found = await harness.make_store().read(["order-1"])
    assert "is not a saga" in json.dumps([str(each) for each in found.values()])
