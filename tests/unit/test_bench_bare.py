"""The bare programs write what they should: constant bytes in the engine's sizes, and an order's way."""

from aiokafka import ConsumerRecord

from bench.bare import Record
from bench.floor import Orders
from bench.floor import Settings as FloorSettings
from bench.passthrough import Passthrough
from bench.passthrough import Settings as PassthroughSettings
from bench.workload import EVENTS, creation_value

_NOWHERE = "127.0.0.1:1"


def record(topic: str, offset: int, key: bytes, value: bytes) -> Record:
    return ConsumerRecord(topic, 0, offset, 0, 0, key, value, None, len(key), len(value), ())


def test_the_pass_through_writes_the_records_of_each_step() -> None:
    written = ((b"ccc", b"sssss"), (b"", b"sssssss"))
    settings = PassthroughSettings(_NOWHERE, "g", "events", "commands", "sagas", (0,), 10, written)
    program = Passthrough(settings)
    first = [record("events", offset, b"k%d" % offset, b"") for offset in (8, 9)]
    assert {topic: list(written) for topic, written in program.decide(first)} == {
        "commands": [(b"k8", b"ccc"), (b"k9", b"ccc")],
        "sagas": [(b"k8", b"sssss"), (b"k9", b"sssss")],
    }
    last = [record("events", 10, b"k10", b"")]
    assert {topic: list(written) for topic, written in program.decide(last)} == {"sagas": [(b"k10", b"sssssss")]}


def test_the_hand_written_loop_takes_an_order_to_its_end() -> None:
    program = Orders(FloorSettings(_NOWHERE, "g", "intake", "events", "commands", "sagas", (0,)))
    records = [record("intake", 0, b"order", creation_value(b"order"))]
    records += [record("events", offset, b"order", event) for offset, event in enumerate(EVENTS)]
    written = {topic: [value for _, value in batch] for topic, batch in program.decide(records)}
    assert [
        label in value
        for label, value in zip((b"executePayment", b"prepareOrder", b"deliverOrder"), written["commands"], strict=True)
    ] == [True] * 3
    assert [b'"isFinal":true' in value for value in written["sagas"]] == [False, False, False, True]


def test_an_event_that_does_not_fit_moves_nothing() -> None:
    program = Orders(FloorSettings(_NOWHERE, "g", "intake", "events", "commands", "sagas", (0,)))
    program.decide([record("intake", 0, b"order", creation_value(b"order"))])
    assert list(program.decide([record("events", 0, b"order", EVENTS[2])])) == []
