"""`GET /sagas`: what it takes, what it refuses, what it answers; and the internal route that engines ask each other."""

import msgspec
import pytest

from flowmachine.adapters.rest.peer import HttpPeerReader
from flowmachine.adapters.rest.session import open_session
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.wire.listing import SagaFilter, SagaPage, SagaSummary, Scan, ScanRequest
from tests.support.api_fakes import running_api

SUMMARY = SagaSummary(
    saga_id="order-1",
    associated_entity_id="order 7",
    current_state="PAID",
    business_state_id=1,
    business_state_description="Payment",
    is_final=False,
    latest_event="paymentExecuted",
    seq=2,
    created_at="2026-01-01T00:00:00.000Z",
    updated_at="2026-01-01T00:00:01.000Z",
)


async def test_page_is_answered_with_its_cursor() -> None:
    async with running_api() as api:
        api.lists.page = SagaPage([SUMMARY], "next")
        response = await api.client.get("/sagas")
        assert response.status == 200
        assert await response.json() == {
            "sagas": [
                {
                    "sagaId": "order-1",
                    "associatedEntityId": "order 7",
                    "currentState": "PAID",
                    "businessStateId": 1,
                    "businessStateDescription": "Payment",
                    "isFinal": False,
                    "latestEvent": "paymentExecuted",
                    "seq": 2,
                    "createdAt": "2026-01-01T00:00:00.000Z",
                    "updatedAt": "2026-01-01T00:00:01.000Z",
                }
            ],
            "nextCursor": "next",
        }
        assert api.lists.asked == [(SagaFilter(), 100, None)]


async def test_every_parameter_reaches_the_list() -> None:
    async with running_api() as api:
        query = {
            "state": "PAID & more",
            "businessState": "1",
            "entity": "ördér 7",
            "finished": "false",
            "updatedBefore": "2026-01-01T02:00:00.5+02:00",
            "limit": "7",
            "cursor": "there",
        }
        assert (await api.client.get("/sagas", params=query)).status == 200
        wanted = SagaFilter("PAID & more", "1", "ördér 7", is_final=False, updated_before="2026-01-01T00:00:00.500Z")
        assert api.lists.asked == [(wanted, 7, "there")]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("status=PAID", "no parameter 'status'; there are state, businessState"),
        ("state=A&state=B", "`state` must be given once"),
        ("state=" + "x" * 1025, "`state` has more than 1024 characters"),
        ("finished=yes", "`finished` must be true or false"),
        ("limit=0", "`limit` must be a number from 1 to 1000"),
        ("limit=1001", "`limit`"),
        ("limit=-1", "`limit`"),
        ("limit=%C2%B2", "`limit`"),
        ("updatedBefore=yesterday", "`updatedBefore` must be a time"),
        ("updatedBefore=2026-01-01T00:00:00+01:00", "written %2B"),
        ("updatedBefore=2026-01-01T00:00:00", "needs a time zone"),
        ("cursor=of+another+list", "`cursor` cannot be used"),
    ],
)
async def test_wrong_query_is_refused_by_name(query: str, named: str) -> None:
    async with running_api() as api:
        response = await api.client.get(f"/sagas?{query}")
        body = await response.json()
        assert (response.status, body["statusCode"], body["error"]) == (400, 400, "Bad Request")
        assert named in body["message"]
        assert api.lists.asked == []


@pytest.mark.parametrize(
    "error",
    [
        TransientError("home partition 2 is restoring"),
        ConfigurationError.of("spec.persistence", "store-credentials", "the store refused the password"),
    ],
)
async def test_list_that_cannot_be_made_now_is_a_503(error: Exception) -> None:
    async with running_api() as api:
        api.lists.error = error
        response = await api.client.get("/sagas")
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert str(error) in (await response.json())["message"]


async def test_engines_ask_each_other_over_the_internal_route() -> None:
    async with running_api() as api, open_session() as session:
        api.lists.part = Scan([SUMMARY], "order-1", 12)
        address = f"{api.client.host}:{api.client.port}"
        asked = ScanRequest(3, SagaFilter(entity="a&b=c/ü", is_final=True), "order-0", 5, 1000)
        assert await HttpPeerReader(session).scan(address, asked) == api.lists.part
        assert api.lists.scans == [(asked, True)]


@pytest.mark.parametrize("request_", ["", "nonsense", "[]", "%FF"])
async def test_internal_route_refuses_what_no_engine_sends(request_: str) -> None:
    async with running_api() as api:
        assert (await api.client.get(f"/-/internal/sagas?request={request_}")).status == 400
        assert api.lists.scans == []


async def test_what_is_no_engine_at_a_peers_address_is_told_apart() -> None:
    async with running_api() as api, open_session() as session:
        api.lists.part = msgspec.structs.replace(api.lists.part, scanned="many")
        with pytest.raises(TransientError, match="no engine of this version"):
            await HttpPeerReader(session).scan(
                f"{api.client.host}:{api.client.port}", ScanRequest(0, SagaFilter(), "", 1, 1)
            )
