"""`decide`: commands over HTTP wait in the saga until somebody has taken them."""

import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import SendCommand
from flowmachine.core.inputs import Input
from flowmachine.core.payload import decode_payload, encode_payload
from flowmachine.core.saga import OutboxEntry, Saga
from tests.support.builders import (
    advance,
    command,
    create,
    delivered,
    event,
    failed,
    machine,
    order_machine,
    rest_machine,
    saga_after,
    sent_by,
    state,
    without_state,
)

ORDERS = order_machine()
LATER = "2025-10-09T08:53:21.234Z"


def entry_ids(saga: Saga) -> list[str]:
    return [entry.id for entry in saga.outbox]


def test_commands_over_http_wait_in_the_outbox_and_others_are_sent() -> None:
    whole = rest_machine()
    decision = decide(whole, None, create({"a": 1}))
    assert sent_by(decision) == (SendCommand(command("tell", "twofold").channel, "tell", encode_payload({"a": 1})),)
    assert decision.saga is not None
    assert decision.saga.outbox == (
        OutboxEntry("1", "rest", "work", encode_payload({"a": 1})),
        OutboxEntry("1.2", "rest", "notify", encode_payload({"a": 1}), is_side_command=True),
    )


def test_side_commands_follow_the_command_in_the_machines_order() -> None:
    whole = machine(
        state(
            "one",
            sends=command("main"),
            side_commands=[command("first"), command("second", "twofold"), command("third")],
        )
    )
    sent = decide(whole, None, create()).commands
    assert [(each.channel, each.label) for each in sent] == [
        ("log", "main"),
        ("log", "first"),
        ("twofold", "second"),
        ("log", "third"),
    ]


def test_side_commands_are_sent_without_a_command_too() -> None:
    whole = machine(state("one", side_commands=[command("notify", "rest"), command("tell")]))
    decision = decide(whole, None, create())
    assert [sent.label for sent in decision.commands] == ["tell"]
    assert decision.saga is not None
    assert [(entry.id, entry.is_side_command) for entry in decision.saga.outbox] == [("1.0", True)]


def test_outbox_ids_are_made_of_the_seq_so_that_a_saga_never_reuses_one() -> None:
    whole = rest_machine()
    saga = saga_after(whole, "step")
    assert entry_ids(saga) == ["1", "1.2", "2", "2.2"]
    saga = advance(whole, saga, delivered("1"))
    assert entry_ids(advance(whole, saga, event("step"))) == ["1.2", "2", "2.2", "4", "4.2"]


def test_command_and_a_side_command_that_look_alike_stay_apart() -> None:
    whole = machine(state("one", sends=command("same", "rest"), side_commands=[command("same", "rest")]))
    assert [(entry.id, entry.is_side_command) for entry in saga_after(whole).outbox] == [("1", False), ("1.1", True)]


def test_outbox_keeps_the_payload_of_its_time() -> None:
    whole = rest_machine()
    saga = saga_after(whole, event("step", {"a": 2}), metadata={"a": 1})
    assert [decode_payload(entry.payload) for entry in saga.outbox] == [{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}]


def test_delivered_command_leaves_the_outbox_alone() -> None:
    whole = rest_machine()
    saga = saga_after(whole)
    decision = decide(whole, saga, delivered("1"))
    assert (decision.outcome, decision.commands) == (Outcome.SETTLED, ())
    assert decision.saga is not None
    assert (decision.saga.seq, entry_ids(decision.saga)) == (2, ["1.2"])
    assert decision.saga.history == saga.history
    assert (decision.saga.current_state, decision.saga.latest_event) == ("looping", "__created__")


def test_failed_command_stays_with_its_failure() -> None:
    whole = rest_machine()
    decision = decide(whole, saga_after(whole), failed("1", "connection refused"))
    assert decision.outcome is Outcome.SETTLED
    assert decision.saga is not None
    assert [(entry.id, entry.failure) for entry in decision.saga.outbox] == [("1", "connection refused"), ("1.2", None)]


def test_failed_command_that_is_delivered_later_leaves() -> None:
    whole = rest_machine()
    saga = advance(whole, saga_after(whole), failed("1"))
    assert entry_ids(advance(whole, saga, delivered("1"))) == ["1.2"]


@pytest.mark.parametrize("received", [delivered("1.2"), failed("1.2")], ids=["delivered", "failed"])
def test_side_command_leaves_the_outbox_either_way(received: Input) -> None:
    whole = rest_machine()
    assert entry_ids(advance(whole, saga_after(whole), received)) == ["1"]


@pytest.mark.parametrize("received", [delivered("1"), failed("1"), delivered("77"), failed("")])
def test_entry_that_is_gone_makes_a_duplicate(received: Input) -> None:
    whole = rest_machine()
    saga = advance(whole, saga_after(whole), delivered("1"))
    decision = decide(whole, saga, received)
    assert decision.outcome is Outcome.DUPLICATE
    assert decision.saga is saga
    assert "settled before" in decision.reason


def test_commands_are_settled_in_a_final_state_and_in_an_unknown_one() -> None:
    whole = rest_machine()
    ended = saga_after(whole, "stop")
    assert ended.is_final
    assert entry_ids(advance(whole, ended, delivered("2"))) == ["1", "1.2"]
    assert entry_ids(advance(without_state(whole, "ended"), ended, delivered("2"))) == ["1", "1.2"]
