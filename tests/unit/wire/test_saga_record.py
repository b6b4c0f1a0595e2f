import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine
from flowmachine.core.inputs import Input
from flowmachine.core.saga import HeldEvent, Saga
from flowmachine.errors import InvariantError
from flowmachine.wire.record import decode_head, decode_saga, encode_saga, may_need_work
from tests.support.builders import NOW, event, order_machine, rest_machine, saga_after, without_state
from tests.support.strategies import heavy, inputs, machines, texts

ORDERS = order_machine()


@st.composite
def sagas(draw: st.DrawFn) -> Saga:
    """A saga that a machine and one with fewer states have moved: with outbox, held events, anything."""
    whole = draw(machines())
    fewer = without_state(whole, draw(st.sampled_from(sorted(whole.states))))
    saga = saga_after(whole)
    for received in draw(st.lists(inputs, max_size=8)):
        saga = decided(draw(st.sampled_from([whole, fewer])), saga, received)
    return saga


def decided(whole: Machine, saga: Saga, received: Input) -> Saga:
    after = decide(whole, saga, received).saga
    assert after is not None
    return after


def test_record_is_the_documented_json() -> None:
    saga = saga_after(ORDERS, event("paymentExecuted", {"paid": True}), metadata={"items": 2})
    assert msgspec.json.decode(encode_saga(saga)) == {
        "v": 1,
        "seq": 2,
        "revision": "r1",
        "currentState": "preparing",
        "latestEvent": "paymentExecuted",
        "businessStateId": 1,
        "businessStateDescription": "In progress",
        "associatedEntityId": "entity-1",
        "createdAt": NOW,
        "updatedAt": NOW,
        "metadata": {"items": 2, "paid": True},
        "history": {
            "states": [
                {"state": "paying", "timestamp": NOW, "businessStateId": 1, "businessStateDescription": "In progress"},
                {
                    "state": "preparing",
                    "timestamp": NOW,
                    "businessStateId": 1,
                    "businessStateDescription": "In progress",
                },
            ],
            "events": [
                {"event": "__created__", "timestamp": NOW},
                {
                    "event": "paymentExecuted",
                    "timestamp": NOW,
                    "businessEventId": 10,
                    "businessEventDescription": "Paid",
                },
            ],
        },
    }


def test_outbox_and_held_events_are_in_the_record() -> None:
    saga = msgspec.structs.replace(saga_after(rest_machine()), held=(HeldEvent("late", {"a": 1}, 5),), is_final=True)
    written = msgspec.json.decode(encode_saga(saga))
    assert written["isFinal"] is True
    assert written["held"] == [{"label": "late", "payload": {"a": 1}, "receivedAtMs": 5}]
    assert written["outbox"] == [
        {"id": "1", "channel": "rest", "label": "work", "payload": {}},
        {"id": "1.2", "channel": "rest", "label": "notify", "payload": {}, "isSideCommand": True},
    ]


@heavy
@given(sagas())
def test_saga_survives_the_log_and_its_record_says_what_a_restore_asks(saga: Saga) -> None:
    value = encode_saga(saga)
    assert decode_saga(value) == saga
    assert encode_saga(decode_saga(value)) == value
    head = decode_head(value)
    expected = (saga.v, saga.current_state, saga.updated_at, saga.is_final)
    assert (head.v, head.current_state, head.updated_at, head.is_final) == expected
    assert head.is_held == bool(saga.held or saga.hold)
    if saga.outbox or saga.held:
        assert may_need_work(value)


@given(texts)
def test_idle_saga_is_said_to_have_no_work(text: str) -> None:
    assert not may_need_work(encode_saga(saga_after(ORDERS, metadata={"outbox": {}, "held": text})))


def test_metadata_may_look_like_work() -> None:
    assert may_need_work(encode_saga(saga_after(ORDERS, metadata={"outbox": [1]})))


def test_later_version_with_more_fields_is_not_read_as_ours() -> None:
    value = encode_saga(msgspec.structs.replace(saga_after(ORDERS), v=2))
    for decode in (decode_saga, decode_head):
        with pytest.raises(InvariantError, match="has version 2, this engine knows 1"):
            decode(value)


def test_fields_of_a_later_engine_of_this_version_are_ignored() -> None:
    value = encode_saga(saga_after(ORDERS))[:-1] + b',"fieldOfTomorrow":{"a":[1]}}'
    assert decode_saga(value) == saga_after(ORDERS)


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"{}", b"[]", b"\xff", b'{"v":"1"}', b'{"v":1,"currentState":"\xff","updatedAt":""}'],
    ids=["empty", "cut off", "nothing", "array", "not UTF-8", "version as text", "text not UTF-8"],
)
def test_record_that_cannot_be_read_is_a_bug_of_ours(value: bytes) -> None:
    for decode in (decode_saga, decode_head):
        with pytest.raises(InvariantError, match="cannot be read"):
            decode(value)
