"""Flow Manager's documents: what we write is what it writes, and what it wrote we can read."""

import json
from typing import Any

import msgspec
import pytest

from flowmachine.core.payload import decode_payload
from flowmachine.wire.document import UnreadableDocumentError, build_document, build_ours, decode_document
from tests.support.builders import as_json, order_machine, rest_machine, saga_after

FIELDS = [
    "sagaId",
    "latestEvent",
    "history",
    "currentState",
    "associatedEntityId",
    "isFinal",
    "businessStateId",
    "businessStateDescription",
    "metadata",
]


def stored(**changes: Any) -> bytes:
    """A document as Flow Manager leaves it in its collection."""
    document: dict[str, Any] = {
        "sagaId": "order-1",
        "latestEvent": "paymentExecuted",
        "history": {
            "states": [
                {"state": "paying", "timestamp": "2024-05-02T10:00:00.000Z", "businessStateId": 1},
                {"state": "preparing", "timestamp": "2024-05-02T10:00:01.500Z", "businessStateId": 1},
            ],
            "events": [{"event": "__created__", "timestamp": "2024-05-02T10:00:00.000Z"}],
        },
        "currentState": "preparing",
        "associatedEntityId": "entity-1",
        "isFinal": False,
        "businessStateId": 1,
        "businessStateDescription": "In progress",
        "metadata": {"total": 3},
    }
    return json.dumps({name: value for name, value in (document | changes).items() if value is not ...}).encode()


def test_document_has_exactly_the_nine_fields() -> None:
    document = msgspec.json.decode(msgspec.json.encode(build_document("order-1", saga_after(order_machine()))))
    assert list(document) == FIELDS


def test_document_of_ours_gives_back_the_whole_saga() -> None:
    saga = saga_after(rest_machine(), "step")
    document = as_json(build_document("order-1", saga)) | {"flowmachine": as_json(build_ours(saga))}
    assert as_json(decode_document(msgspec.json.encode(document))) == as_json(saga)


def test_document_of_flow_manager_is_as_far_as_its_history() -> None:
    saga = decode_document(stored())
    assert (saga.seq, saga.revision, saga.current_state) == (2, "", "preparing")
    assert (saga.created_at, saga.updated_at) == ("2024-05-02T10:00:00.000Z", "2024-05-02T10:00:01.500Z")
    assert decode_payload(saga.metadata) == {"total": 3}


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (1_714_644_000_000, "2024-05-02T10:00:00.000Z"),
        ("2024-05-02T12:00:00+02:00", "2024-05-02T10:00:00.000Z"),
        ("2024-05-02T10:00:00", "2024-05-02T10:00:00.000Z"),
        ("yesterday", ""),
        (None, ""),
        (True, ""),
    ],
)
def test_times_are_read_in_any_form_and_left_out_if_there_is_none(timestamp: object, expected: str) -> None:
    saga = decode_document(stored(history={"states": [{"state": "s", "timestamp": timestamp}], "events": []}))
    assert saga.created_at == saga.updated_at == expected


def test_three_fields_are_enough() -> None:
    saga = decode_document(
        json.dumps({"currentState": "s", "metadata": None, "history": {"states": [], "events": []}}).encode()
    )
    assert (saga.seq, saga.current_state, decode_payload(saga.metadata), saga.is_final) == (1, "s", {}, False)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"[]",
        b"null",
        b"<html>",
        stored(currentState=...),
        stored(currentState=""),
        stored(currentState=5),
        stored(metadata=[]),
        stored(history=...),
        stored(history={"states": [], "events": 5}),
        b"\xff",
    ],
)
def test_what_is_no_saga_is_refused_in_a_sentence(value: bytes) -> None:
    with pytest.raises(UnreadableDocumentError, match=r"^the store's document is not a saga: "):
        decode_document(value)
