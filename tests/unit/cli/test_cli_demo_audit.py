"""The demo's audit must notice what it says it would: each kind of loss and doubling."""

from pathlib import Path

import pytest

from flowmachine.cli.demo.audit import Audit, CommandKey, audit
from flowmachine.cli.demo.board import Board, count_entered, count_transitions
from flowmachine.cli.demo.workload import make_orders
from flowmachine.config.build import build_machine
from flowmachine.config.load import load_text
from flowmachine.core.decide import decide
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import Create, EventReceived
from flowmachine.core.saga import Saga
from flowmachine.wire.log import StoredRecord
from flowmachine.wire.record import encode_saga

EXAMPLE = Path(__file__).parents[3] / "engine/flowmachine/examples/orders.yaml"
MACHINE = build_machine(load_text(EXAMPLE.read_bytes(), "orders.yaml"))
EVENTS = ("paymentExecuted", "orderPrepared", "orderDelivered")
COMMANDS: list[CommandKey] = [("s1", "executePayment"), ("s1", "prepareOrder"), ("s1", "deliverOrder")]


def run_saga(events: int = len(EVENTS)) -> Saga:
    saga_id = SagaId("s1")
    saga = decide(MACHINE, None, Create(saga_id, "order-1", {}, 1000)).saga
    for number, label in enumerate(EVENTS[:events], start=2):
        saga = decide(MACHINE, saga, EventReceived(saga_id, label, {"paymentId": "p"}, number * 1000)).saga
    assert saga is not None
    return saga


def judge(
    sagas: dict[str, Saga], commands: list[CommandKey], orders: tuple[tuple[str, str], ...] = (("order-1", "s1"),)
) -> Audit:
    return audit(MACHINE, dict(orders), sagas, commands)


def test_good_run_is_clean() -> None:
    found = judge({"s1": run_saga()}, COMMANDS)
    assert found.is_clean
    assert (found.orders, found.commands) == (1, 3)


def test_lost_order_is_found() -> None:
    assert judge({}, []).lost == ("order-1",)


def test_unfinished_saga_is_found() -> None:
    assert judge({"s1": run_saga(2)}, COMMANDS).unfinished == ("s1",)


def test_doubled_command_is_found() -> None:
    assert judge({"s1": run_saga()}, [*COMMANDS, COMMANDS[1]]).doubled == (COMMANDS[1],)


def test_missing_command_is_found() -> None:
    assert judge({"s1": run_saga()}, COMMANDS[:2]).missing == (COMMANDS[2],)


@pytest.mark.parametrize("orders", [(), (("order-1", "s1"), ("order-2", "s1"))])
def test_saga_of_no_order_or_of_two_is_found(orders: tuple[tuple[str, str], ...]) -> None:
    found = judge({"s1": run_saga()}, COMMANDS, orders)
    assert found.surplus == ("s1",)
    assert not found.is_clean


def test_history_is_counted() -> None:
    sagas = [run_saga(), run_saga(1)]
    assert count_entered(sagas) == {"created": 2, "paid": 2, "prepared": 1, "delivered": 1}
    assert count_transitions(sagas)[("created", "paymentExecuted")] == 2
    assert count_transitions(sagas)[("prepared", "orderDelivered")] == 1


def test_older_record_does_not_replace_a_newer_one() -> None:
    board = Board()
    for offset, saga in enumerate((run_saga(), run_saga(1))):
        board.note(StoredRecord("sagas", 0, offset, 0, b"s1", encode_saga(saga)))
    assert board.by_state() == {"delivered": 1}
    assert board.finished == 1


@pytest.mark.parametrize("count", [1, 40, 300])
def test_orders_are_the_same_every_time(count: int) -> None:
    orders = make_orders(count, seed=1)
    assert orders == make_orders(count, seed=1)
    assert len({order.id for order in orders}) == count
    assert sum(order.metadata["card"] == "expired" for order in orders) == round(count * 0.15)
