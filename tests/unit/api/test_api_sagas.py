"""`POST /saga`, `POST /event` and `GET /sagas/{sagaId}`: what they take and what they answer."""

import gzip
import json
import logging
from urllib.parse import quote

import msgspec
import pytest
from yarl import URL

from flowmachine.api.server import ApiSettings
from flowmachine.core.trace import TraceContext
from flowmachine.errors import ConfigurationError, InvariantError, TransientError
from tests.support.api_fakes import HELD, PENDING, ApiSetup, order_record, running_api

CREATION = {"associatedEntityId": "order 7", "metadata": {"total": 12.5}}
EVENT = {"key": "order-1", "value": {"messageLabel": "paymentExecuted", "messagePayload": {"paid": True}}}


async def test_saga_is_created_and_its_id_answered() -> None:
    async with running_api() as api:
        response = await api.client.post("/saga", json=CREATION)
        assert response.status == 200
        assert await response.json() == {"sagaId": "order-1"}
        created = api.gateway.created["order-1"]
        assert (created.associated_entity_id, created.metadata) == ("order 7", {"total": 12.5})


async def test_same_idempotency_key_gives_the_same_saga() -> None:
    async with running_api() as api:
        headers = {"Idempotency-Key": "3f!~"}
        ids = [await (await api.client.post("/saga", json=CREATION, headers=headers)).json() for _ in range(2)]
        assert ids == [{"sagaId": "order-1"}, {"sagaId": "order-1"}]
        assert len(api.gateway.created) == 1


async def test_event_is_appended_in_the_services_own_format() -> None:
    async with running_api() as api:
        response = await api.client.post("/event", json=EVENT)
        assert response.status == 200
        assert await response.json() == {}
        assert api.gateway.reported == [
            ("order-1", b'{"messageLabel":"paymentExecuted","messagePayload":{"paid":true}}')
        ]


@pytest.mark.parametrize("payload", [{}, {"messagePayload": None}, {"messagePayload": {}}])
async def test_event_without_payload_has_an_empty_one(payload: dict[str, object]) -> None:
    async with running_api() as api:
        event = {"key": "order-1", "value": {"messageLabel": "paid", **payload}}
        assert (await api.client.post("/event", json=event)).status == 200
        assert api.gateway.reported == [("order-1", b'{"messageLabel":"paid","messagePayload":{}}')]


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"],
)
async def test_json_content_types_are_taken(content_type: str) -> None:
    async with running_api() as api:
        body = json.dumps(EVENT).encode()
        response = await api.client.post("/event", data=body, headers={"Content-Type": content_type})
        assert response.status == 200


async def test_absent_content_type_is_taken() -> None:
    async with running_api() as api:
        body = json.dumps(EVENT).encode()
        response = await api.client.post("/event", data=body, skip_auto_headers=["Content-Type"])
        assert response.status == 200


def nested(levels: int) -> bytes:
    return b'{"associatedEntityId":"x","metadata":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


def event(**value: object) -> dict[str, object]:
    return {"key": "order-1", "value": {"messageLabel": "paid", **value}}


WRONG_BODIES = [
    ("/saga", b"", "empty"),
    ("/saga", b"{", "truncated"),
    ("/saga", b"nonsense", "not JSON"),
    ("/saga", b"\xff\xfe", "not JSON"),
    ("/saga", b'{"associatedEntityId":"\xff","metadata":{}}', "not JSON"),
    ("/saga", b'{"associatedEntityId":"x","metadata":{"n":NaN}}', "not JSON"),
    ("/saga", b'{"associatedEntityId":"x","metadata":{}} trailing', "not JSON"),
    ("/saga", nested(300), "nested more than 200 levels"),
    ("/saga", b"[" * 100_000, "nested more than 200 levels"),
    ("/saga", b"[]", "object"),
    ("/saga", b"null", "object"),
    ("/saga", {}, "associatedEntityId"),
    ("/saga", {"associatedEntityId": "x"}, "metadata"),
    ("/saga", {"metadata": {}}, "associatedEntityId"),
    ("/saga", CREATION | {"associatedEntityId": 7}, "associatedEntityId"),
    ("/saga", CREATION | {"associatedEntityId": None}, "associatedEntityId"),
    ("/saga", CREATION | {"metadata": []}, "metadata"),
    ("/saga", CREATION | {"metadata": None}, "metadata"),
    ("/saga", CREATION | {"sagaId": "mine"}, "sagaId"),
    ("/event", {"key": "order-1"}, "value"),
    ("/event", {"value": {"messageLabel": "paid"}}, "key"),
    ("/event", event() | {"key": ""}, "key"),
    ("/event", event() | {"key": 7}, "key"),
    ("/event", event() | {"key": None}, "key"),
    ("/event", event() | {"key": "x" * 513}, "key"),
    ("/event", event() | {"key": "ü" * 257}, "key"),
    ("/event", event() | {"partition": 1}, "partition"),
    ("/event", event() | {"value": "paid"}, "value"),
    ("/event", {"key": "order-1", "value": {}}, "messageLabel"),
    ("/event", event(messageLabel=7), "messageLabel"),
    ("/event", event(messageLabel=None), "messageLabel"),
    ("/event", event(messagePayload=[]), "messagePayload"),
    ("/event", event(messagePayload="text"), "messagePayload"),
    ("/event", event(messagePayload=0), "messagePayload"),
    ("/event", event(headers={}), "headers"),
]


@pytest.mark.parametrize(("path", "body", "named"), WRONG_BODIES, ids=[str(n) for n in range(len(WRONG_BODIES))])
async def test_wrong_body_is_refused_and_named(path: str, body: object, named: str) -> None:
    async with running_api() as api:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = await api.client.post(path, data=data, headers={"Content-Type": "application/json"})
        answer = await response.json()
        assert response.status == 400, answer
        assert (answer["statusCode"], answer["error"]) == (400, "Bad Request")
        assert named in answer["message"]
        assert answer["message"].endswith(".")
        assert not api.gateway.created
        assert not api.gateway.reported


async def test_200_levels_are_taken() -> None:
    async with running_api() as api:
        response = await api.client.post("/saga", data=nested(199), headers={"Content-Type": "application/json"})
        assert response.status == 200


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ümlaut", "tab\tbed"])
async def test_wrong_idempotency_key_is_refused(key: str) -> None:
    async with running_api() as api:
        response = await api.client.post("/saga", json=CREATION, headers={"Idempotency-Key": key})
        assert response.status == 400
        assert "Idempotency-Key" in (await response.json())["message"]


async def test_two_idempotency_keys_are_refused() -> None:
    async with running_api() as api:
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        assert (await api.client.post("/saga", json=CREATION, headers=headers)).status == 400


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", "text/json", ""]
)
async def test_other_content_types_are_refused(content_type: str) -> None:
    async with running_api() as api:
        response = await api.client.post("/event", data=b"{}", headers={"Content-Type": content_type})
        assert response.status == 415
        assert (await response.json())["error"] == "Unsupported Media Type"


SMALL = ApiSettings(body_bytes_max=1000)


async def test_body_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    async with running_api(ApiSetup(settings=SMALL)) as api:
        empty = len(msgspec.json.encode(CREATION | {"metadata": {"text": ""}}))
        for length, status in ((1000 - empty, 200), (1001 - empty, 413)):
            body = msgspec.json.encode(CREATION | {"metadata": {"text": "x" * length}})
            response = await api.client.post("/saga", data=body, headers={"Content-Type": "application/json"})
            assert response.status == status
            assert status == 200 or "1000 bytes" in (await response.json())["message"]


async def test_body_of_unknown_length_is_bounded() -> None:
    async def chunks():
        for _ in range(5):
            yield b" " * 300

    async with running_api(ApiSetup(settings=SMALL)) as api:
        response = await api.client.post("/saga", data=chunks(), headers={"Content-Type": "application/json"})
        assert response.status == 413


async def test_compressed_body_is_bounded_by_what_it_unpacks_to() -> None:
    async with running_api() as api:
        bomb = gzip.compress(b" " * 50_000_000)
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = await api.client.post("/saga", data=bomb, headers=headers)
        assert response.status == 413


async def test_broken_compression_is_refused() -> None:
    async with running_api() as api:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        response = await api.client.post("/saga", data=b"no gzip at all", headers=headers)
        assert response.status == 400


@pytest.mark.parametrize("path", ["/saga", "/event"])
async def test_body_that_grows_when_written_anew_is_bounded(path: str) -> None:
    """`1e15` becomes `1000000000000000.0`: what was accepted would make a record that the log never takes."""
    numbers = b"[" + b",".join([b"1e15"] * 190) + b"]"
    body = {
        "/saga": b'{"associatedEntityId":"x","metadata":{"n":%s}}',
        "/event": b'{"key":"x","value":{"messageLabel":"x","messagePayload":{"n":%s}}}',
    }[path]
    async with running_api(ApiSetup(settings=SMALL)) as api:
        response = await api.client.post(path, data=body % numbers, headers={"Content-Type": "application/json"})
        assert response.status == 413


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/saga", "POST"),
        ("PUT", "/event", "POST"),
        ("DELETE", "/sagas/x", "GET, HEAD"),
        ("POST", "/-/ready", "GET, HEAD"),
    ],
)
async def test_wrong_method_says_what_is_allowed(method: str, path: str, allow: str) -> None:
    async with running_api() as api:
        response = await api.client.request(method, path)
        assert response.status == 405
        assert response.headers["Allow"] == allow
        assert (await response.json())["error"] == "Method Not Allowed"


@pytest.mark.parametrize("path", ["/", "/sagas/", "/sagas/a/b", "/saga/", "/.env"])
async def test_unknown_path_is_404_in_json(path: str) -> None:
    async with running_api() as api:
        response = await api.client.get(path)
        assert response.status == 404
        assert (await response.json())["statusCode"] == 404


async def test_saga_is_shown_with_flow_managers_fields_and_ours() -> None:
    async with running_api() as api:
        api.gateway.records["order-1"] = order_record(outbox=PENDING, held=HELD)
        response = await api.client.get("/sagas/order-1")
        assert response.status == 200
        assert await response.json() == {
            "sagaId": "order-1",
            "latestEvent": "paymentExecuted",
            "history": {
                "states": [{"state": "CREATED", "timestamp": "2026-01-01T00:00:00.000Z"}],
                "events": [{"event": "__created__", "timestamp": "2026-01-01T00:00:00.000Z"}],
            },
            "currentState": "PAID",
            "associatedEntityId": "order 7",
            "isFinal": False,
            "businessStateId": 1,
            "businessStateDescription": "Payment",
            "metadata": {"total": 12.5, "items": ["ümlaut"]},
            "seq": 2,
            "revision": "abc",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "updatedAt": "2026-01-01T00:00:01.000Z",
            "outbox": [
                {"id": "2", "channel": "kitchen", "label": "prepareOrder", "isSideCommand": False, "failure": None},
                {
                    "id": "2.1",
                    "channel": "mail",
                    "label": "tellCustomer",
                    "isSideCommand": True,
                    "failure": "POST http://mail/ answered 500",
                },
            ],
            "held": [{"label": "orderPrepared", "payload": {"by": "cook"}, "receivedAt": "2026-01-01T00:00:00.000Z"}],
            "hold": None,
        }


@pytest.mark.parametrize("saga_id", ["a/b", "a b", "ümlaut", "50%", "a?b#c", "{x}", "😀", "a\nb"])
async def test_any_id_can_be_read(saga_id: str) -> None:
    async with running_api() as api:
        api.gateway.records[saga_id] = order_record()
        for route in ("/sagas/", "/-/internal/sagas/"):
            url = URL(f"{route}{quote(saga_id, safe='')}", encoded=True)
            assert (await api.client.get(url)).status == 200


async def test_unknown_saga_is_404() -> None:
    async with running_api() as api:
        response = await api.client.get("/sagas/nobody")
        assert response.status == 404
        assert await response.json() == {
            "statusCode": 404,
            "error": "Not Found",
            "message": "There is no saga 'nobody'.",
        }


@pytest.mark.parametrize("route", ["/sagas/", "/-/internal/sagas/"])
async def test_id_that_is_too_long_is_refused(route: str) -> None:
    async with running_api() as api:
        assert (await api.client.get(route + "x" * 513)).status == 400
        assert (await api.client.get(route + "x" * 512)).status == 404


async def test_request_from_another_engine_is_not_passed_on() -> None:
    async with running_api() as api:
        await api.client.get("/sagas/a")
        await api.client.get("/sagas/b", headers={"Flowmachine-Routed": "1"})
        await api.client.get("/-/internal/sagas/c")
        assert api.gateway.reads == [("a", False), ("b", True), ("c", True)]


async def test_internal_route_gives_the_record_as_it_is() -> None:
    async with running_api() as api:
        api.gateway.records["order-1"] = order_record()
        response = await api.client.get("/-/internal/sagas/order-1")
        assert await response.read() == order_record()
        missing = await api.client.get("/-/internal/sagas/nobody")
        assert (missing.status, missing.headers["Flowmachine-Saga"]) == (404, "unknown")


REQUESTS = [
    ("POST", "/saga", CREATION),
    ("POST", "/event", EVENT),
    ("GET", "/sagas/x", None),
    ("GET", "/-/internal/sagas/x", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
@pytest.mark.parametrize(
    "error",
    [
        TransientError("the log cannot be reached"),
        ConfigurationError.of("kafka", "not-authorised", "the log cannot be reached"),
    ],
)
async def test_log_that_is_away_is_503_with_retry_after(method: str, path: str, body: object, error: Exception) -> None:
    async with running_api() as api:
        api.gateway.error = error
        response = await api.client.request(method, path, json=body)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        answer = await response.json()
        assert answer["error"] == "Service Unavailable"
        assert "the log cannot be reached" in answer["message"]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_bug_is_500_with_a_reference_and_logged_once(
    method: str, path: str, body: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_api() as api:
        api.gateway.error = InvariantError("password=hunter2")
        with caplog.at_level(logging.WARNING):
            response = await api.client.request(method, path, json=body)
        assert response.status == 500
        text = await response.text()
        assert "hunter2" not in text
        assert "Traceback" not in text
        (line,) = [record for record in caplog.records if record.name.startswith("flowmachine.api")]
        assert line.exc_info is not None
        assert line.__dict__["reference"] in text


async def test_unreadable_record_is_500_without_its_content() -> None:
    async with running_api() as api:
        api.gateway.records["order-1"] = b'{"v":99,"metadata":"hunter2"}'
        response = await api.client.get("/sagas/order-1")
        assert response.status == 500
        assert "hunter2" not in await response.text()


async def test_draining_engine_takes_no_new_work_but_still_reads() -> None:
    async with running_api() as api:
        api.gateway.records["order-1"] = order_record()
        api.lifecycle.drain()
        for path, body in (("/saga", CREATION), ("/event", EVENT)):
            response = await api.client.post(path, json=body)
            assert response.status == 503
            assert response.headers["Retry-After"]
            assert "stopping" in (await response.json())["message"]
        assert (await api.client.get("/sagas/order-1")).status == 200
        assert not api.gateway.created
        assert not api.gateway.reported


TRACE = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "shop=1"}


async def test_trace_of_a_request_goes_with_its_saga_and_its_event_where_traces_are_wanted() -> None:
    async with running_api(ApiSetup(settings=ApiSettings(is_tracing=True))) as api:
        for headers in (TRACE, {"traceparent": "nonsense"}, {}):
            assert (await api.client.post("/saga", json=CREATION, headers=headers)).status == 200
        assert (await api.client.post("/event", json=EVENT, headers=TRACE)).status == 200
        assert api.gateway.traces == [TraceContext(*TRACE.values()), None, None, TraceContext(*TRACE.values())]


async def test_trace_of_a_request_is_ignored_where_nobody_wants_traces() -> None:
    async with running_api() as api:
        await api.client.post("/saga", json=CREATION, headers=TRACE)
        assert api.gateway.traces == [None]
