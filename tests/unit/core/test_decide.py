import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import HookError, Payload, SagaId, SendCommand
from flowmachine.core.inputs import Input
from flowmachine.core.merge import merge_deep
from flowmachine.core.payload import decode_payload, encode_payload
from flowmachine.core.saga import Saga
from tests.support.builders import (
    NOW,
    NOW_MS,
    SAGA_ID,
    advance,
    command,
    counting_check,
    create,
    delivered,
    event,
    failed,
    history_of,
    machine,
    order_machine,
    refuse_unless,
    rest_machine,
    resumed,
    saga_after,
    sent_by,
    small_machine,
    state,
    transition,
    without_state,
)

ORDERS = order_machine()
LATER = "2025-10-09T08:53:21.234Z"


# --- revisions --------------------------------------------------------------------------------------------------------


def test_a_saga_remembers_the_other_revisions_that_have_moved_it_the_latest_ten() -> None:
    loop = small_machine()
    saga = saga_after(loop, "step")
    assert saga.earlier_revisions == ()
    for number in range(12):
        another = msgspec.structs.replace(loop, revision=f"r{number + 2}")
        saga = advance(another, advance(another, saga, event("step")), event("step"))
        assert saga.earlier_revisions[-1] == f"r{number + 1}"
    assert saga.earlier_revisions == tuple(f"r{number}" for number in range(3, 13))


def test_a_saga_whose_command_was_held_remembers_the_revision_that_held_it() -> None:
    def fail(_: SagaId, __: Saga) -> Payload:
        raise HookError("out of time")

    whole = machine(state("one", sends=msgspec.structs.replace(command("work"), build=fail)))
    held = decide(whole, None, create({})).saga
    assert held is not None
    assert held.hold is not None
    corrected = msgspec.structs.replace(machine(state("one", sends=command("work"))), revision="corrected")
    sent = decide(corrected, held, resumed())
    assert sent.outcome is Outcome.RESUMED
    assert sent.saga is not None
    assert (sent.saga.revision, sent.saga.earlier_revisions) == ("corrected", (held.revision,))


# --- creation ---------------------------------------------------------------------------------------------------------


def test_creation_enters_the_initial_state_and_sends_its_command_with_the_metadata() -> None:
    decision = decide(ORDERS, None, create({"items": 2}))
    assert decision.outcome is Outcome.CREATED
    assert sent_by(decision) == (
        SendCommand(command("executePayment").channel, "executePayment", encode_payload({"items": 2})),
    )
    saga = decision.saga
    assert saga is not None
    assert (saga.v, saga.seq, saga.revision) == (1, 1, "r1")
    assert (saga.current_state, saga.latest_event, saga.is_final) == ("paying", "__created__", False)
    assert (saga.business_state_id, saga.business_state_description) == (1, "In progress")
    assert (saga.associated_entity_id, decode_payload(saga.metadata)) == ("entity-1", {"items": 2})
    assert (saga.created_at, saga.updated_at) == (NOW, NOW)
    assert (saga.outbox, saga.held, saga.timers) == ((), (), ())


def test_creation_is_the_first_entry_of_both_histories() -> None:
    assert history_of(saga_after(ORDERS)) == {
        "states": [
            {"state": "paying", "timestamp": NOW, "businessStateId": 1, "businessStateDescription": "In progress"}
        ],
        "events": [{"event": "__created__", "timestamp": NOW}],
    }


def test_creation_in_a_final_state_without_command_is_finished_at_once() -> None:
    decision = decide(machine(state("only", is_final=True)), None, create())
    assert decision.outcome is Outcome.CREATED
    assert decision.saga is not None
    assert decision.saga.is_final
    assert decision.commands == ()


@pytest.mark.parametrize("labels", [(), ("paymentExecuted",), ("paymentFailed",)], ids=["new", "moved", "finished"])
def test_second_creation_is_a_duplicate_and_changes_nothing(labels: tuple[str, ...]) -> None:
    saga = saga_after(ORDERS, *labels)
    decision = decide(ORDERS, saga, create({"other": 1}))
    assert (decision.outcome, decision.commands) == (Outcome.DUPLICATE, ())
    assert decision.saga is saga
    assert SAGA_ID in decision.reason


def test_second_creation_is_a_duplicate_when_the_state_is_unknown() -> None:
    saga = saga_after(ORDERS)
    assert decide(without_state(ORDERS, "paying"), saga, create()).outcome is Outcome.DUPLICATE


# --- events that the state lists --------------------------------------------------------------------------------------


def test_listed_event_moves_the_saga_and_sends_the_command_with_the_merged_metadata() -> None:
    saga = saga_after(ORDERS, metadata={"items": 2, "price": {"net": 1}})
    decision = decide(ORDERS, saga, event("paymentExecuted", {"price": {"gross": 2}}, at_ms=NOW_MS + 1_234))
    merged = {"items": 2, "price": {"gross": 2}}
    assert decision.outcome is Outcome.ADVANCED
    assert sent_by(decision) == (SendCommand(command("prepareOrder").channel, "prepareOrder", encode_payload(merged)),)
    moved = decision.saga
    assert moved is not None
    assert (moved.seq, moved.current_state, moved.latest_event, decode_payload(moved.metadata)) == (
        2,
        "preparing",
        "paymentExecuted",
        merged,
    )
    assert (moved.created_at, moved.updated_at) == (NOW, LATER)
    assert moved.associated_entity_id == "entity-1"


def test_machine_decides_how_metadata_are_merged() -> None:
    deep = small_machine(merge=merge_deep)
    saga = saga_after(deep, metadata={"price": {"net": 1}})
    assert decode_payload(advance(deep, saga, event("step", {"price": {"gross": 2}})).metadata) == {
        "price": {"net": 1, "gross": 2}
    }


def test_event_without_payload_leaves_the_metadata() -> None:
    saga = saga_after(ORDERS, metadata={"items": 2})
    assert decode_payload(advance(ORDERS, saga, event("paymentExecuted")).metadata) == {"items": 2}


def test_history_has_flow_managers_form_with_and_without_business_events() -> None:
    saga = saga_after(
        ORDERS, event("paymentExecuted", at_ms=NOW_MS + 1_234), event("orderPrepared", at_ms=NOW_MS + 1_234)
    )
    saga = advance(ORDERS, saga, event("orderDelivered", at_ms=NOW_MS + 1_234))
    in_progress = {"businessStateId": 1, "businessStateDescription": "In progress"}
    assert history_of(saga) == {
        "states": [
            {"state": "paying", "timestamp": NOW, **in_progress},
            {"state": "preparing", "timestamp": LATER, **in_progress},
            {"state": "delivering", "timestamp": LATER, **in_progress},
            {"state": "delivered", "timestamp": LATER, "businessStateId": 2, "businessStateDescription": "Done"},
        ],
        "events": [
            {"event": "__created__", "timestamp": NOW},
            {
                "event": "paymentExecuted",
                "timestamp": LATER,
                "businessEventId": 10,
                "businessEventDescription": "Paid",
            },
            {"event": "orderPrepared", "timestamp": LATER},
            {
                "event": "orderDelivered",
                "timestamp": LATER,
                "businessEventId": "end",
                "businessEventDescription": "Arrived",
            },
        ],
    }


def test_final_state_marks_the_saga_final_with_its_business_state() -> None:
    saga = saga_after(ORDERS, "paymentFailed")
    assert saga.is_final
    assert (saga.current_state, saga.business_state_id, saga.business_state_description) == ("failed", "x", "Failed")


def test_event_in_a_loop_is_applied_every_time() -> None:
    saga = saga_after(small_machine(), "step", "step", "step")
    assert (saga.seq, saga.current_state) == (4, "looping")
    assert [each["event"] for each in history_of(saga)["events"]] == ["__created__", "step", "step", "step"]


def test_final_state_that_lists_transitions_follows_them() -> None:
    whole = small_machine()
    ended = saga_after(whole, "stop")
    assert ended.is_final
    decision = decide(whole, ended, event("again"))
    assert decision.outcome is Outcome.ADVANCED
    assert decision.saga is not None
    assert not decision.saga.is_final
    assert [sent.label for sent in decision.commands] == ["work"]


def test_saga_takes_the_revision_of_the_machine_that_moved_it() -> None:
    newer = msgspec.structs.replace(ORDERS, revision="r9")
    assert advance(newer, saga_after(ORDERS), event("paymentExecuted")).revision == "r9"


# --- payload checks ---------------------------------------------------------------------------------------------------


def test_payload_that_fails_its_check_leaves_the_saga_and_says_why() -> None:
    whole = small_machine(check=refuse_unless("amount"))
    saga = saga_after(whole)
    decision = decide(whole, saga, event("step", {"other": 1}))
    assert (decision.outcome, decision.commands) == (Outcome.INVALID_PAYLOAD, ())
    assert decision.saga is saga
    assert decision.reason == "payload at $: 'amount' is required"


def test_payload_that_passes_its_check_is_applied() -> None:
    whole = small_machine(check=refuse_unless("amount"))
    assert decide(whole, saga_after(whole), event("step", {"amount": 1})).outcome is Outcome.ADVANCED


def test_check_sees_the_payload_before_it_is_merged() -> None:
    seen: list[dict[str, object]] = []
    whole = small_machine(check=counting_check(seen))
    decide(whole, saga_after(whole, metadata={"old": 1}), event("step", {"new": 2}))
    assert seen == [{"new": 2}]


def test_empty_payload_is_checked_too() -> None:
    whole = small_machine(check=refuse_unless("amount"))
    assert decide(whole, saga_after(whole), event("step")).outcome is Outcome.INVALID_PAYLOAD


# --- events that the state does not list ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "label", "outcome"),
    [
        ((), "orderDelivered", Outcome.UNEXPECTED),
        ((), "noSuchEvent", Outcome.UNEXPECTED),
        ((), "", Outcome.UNEXPECTED),
        ((), "__created__", Outcome.DUPLICATE),
        (("paymentExecuted",), "paymentExecuted", Outcome.DUPLICATE),
        (("paymentExecuted", "orderPrepared"), "paymentExecuted", Outcome.DUPLICATE),
        (("paymentFailed",), "orderDelivered", Outcome.FINISHED),
        (("paymentFailed",), "paymentFailed", Outcome.DUPLICATE),
        (("paymentFailed",), "__created__", Outcome.DUPLICATE),
    ],
    ids=[
        "early",
        "unknown",
        "empty label",
        "creation event",
        "latest again",
        "older again",
        "after the end",
        "last again",
        "creation event after the end",
    ],
)
def test_unlisted_event_leaves_the_saga_and_has_a_reason(labels: tuple[str, ...], label: str, outcome: Outcome) -> None:
    saga = saga_after(ORDERS, *labels)
    decision = decide(ORDERS, saga, event(label, {"a": 1}))
    assert (decision.outcome, decision.commands) == (outcome, ())
    assert decision.saga is saga
    assert decision.reason


@pytest.mark.parametrize(
    "received",
    [event("paymentExecuted"), delivered("1"), failed("1"), resumed()],
    ids=["event", "delivered", "failed", "resumed"],
)
def test_unknown_saga_has_nothing_to_change(received: Input) -> None:
    decision = decide(ORDERS, None, received)
    assert (decision.outcome, decision.saga, decision.commands) == (Outcome.UNKNOWN_SAGA, None, ())
    assert SAGA_ID in decision.reason


# --- times ------------------------------------------------------------------------------------------------------------


def test_times_of_a_saga_never_run_backwards() -> None:
    saga = saga_after(ORDERS)
    moved = advance(ORDERS, saga, event("paymentExecuted", at_ms=NOW_MS - 60_000))
    assert moved.updated_at == NOW
    assert [each["timestamp"] for each in history_of(moved)["events"]] == [NOW, NOW]
    assert [each["timestamp"] for each in history_of(moved)["states"]] == [NOW, NOW]


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [(-1, "1970-01-01T00:00:00.000Z"), (2**63, "9999-12-31T23:59:59.999Z")],
    ids=["no timestamp", "beyond the calendar"],
)
def test_impossible_times_are_clamped(at_ms: int, text: str) -> None:
    saga = saga_after(ORDERS, at_ms=at_ms)
    assert (saga.created_at, saga.updated_at) == (text, text)


def test_settling_never_turns_the_time_back() -> None:
    whole = rest_machine()
    assert advance(whole, saga_after(whole), delivered("1", NOW_MS - 5_000)).updated_at == NOW
    assert advance(whole, saga_after(whole), delivered("1", NOW_MS + 1_234)).updated_at == LATER


def test_timers_of_another_version_survive_a_transition() -> None:
    saga = msgspec.structs.replace(saga_after(ORDERS), timers=({"id": "t1", "at": 5},))
    assert advance(ORDERS, saga, event("paymentExecuted")).timers == ({"id": "t1", "at": 5},)


def test_transition_of_a_state_leads_only_where_it_says() -> None:
    whole = machine(
        state("a", transition("go", "b"), transition("stay", "a")),
        state("b", transition("go", "a")),
    )
    assert [saga_after(whole, *labels).current_state for labels in ((), ("go",), ("go", "go"), ("stay", "go"))] == [
        "a",
        "b",
        "a",
        "b",
    ]
