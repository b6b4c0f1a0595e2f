"""Events of sagas that only a store knows: they wait in the changelog, in order, until the store has answered."""

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import Loaded
from flowmachine.core.payload import decode_payload, encode_payload
from flowmachine.core.saga import Saga
from flowmachine.partition.partition import Partition
from flowmachine.wire.document import decode_document
from tests.support.builders import (
    KEY,
    NOW_MS,
    SAGA_ID,
    SAGAS,
    UNMATCHED,
    as_json,
    commands_of,
    create_record,
    event_record,
    get_saga,
    history_of,
    new_partition,
    numbered,
    order_machine,
    plan_and_confirm,
    recount,
    saga_after,
    without_state,
    written_by,
)


def loaded(saga: Saga | None, reason: str = "there is none") -> Loaded:
    return Loaded(SagaId(SAGA_ID), saga, reason, NOW_MS)


def stored(*labels: str) -> Saga:
    """A saga as a document of Flow Manager gives it."""
    whole = as_json(saga_after(order_machine(), *labels, metadata={"total": 3}))
    names = ("currentState", "metadata", "history", "associatedEntityId", "latestEvent")
    return decode_document(msgspec.json.encode({name: whole[name] for name in names}))


@pytest.fixture
def partition() -> Partition:
    return new_partition(is_read_through=True)


def test_event_of_an_unknown_saga_waits_and_the_saga_is_asked_for(partition: Partition) -> None:
    plan = plan_and_confirm(partition, [event_record("orderPrepared")])
    assert (plan.awaited, dict(plan.outcomes), plan.unmatched) == ([SAGA_ID], {Outcome.HELD: 1}, [])
    assert [record.topic for record in written_by(plan)] == [SAGAS]
    assert partition.is_awaited(KEY)


def test_saga_is_adopted_and_its_events_are_applied_in_order(partition: Partition) -> None:
    plan_and_confirm(partition, numbered([event_record("orderPrepared", {"a": 1}), event_record("orderDelivered")]))
    plan = plan_and_confirm(partition, internal=[loaded(stored("paymentExecuted"))])
    saga = get_saga(partition)
    assert (saga.current_state, saga.is_final, saga.held) == ("delivered", True, ())
    assert decode_payload(saga.metadata) == {"total": 3, "a": 1}
    assert [entry["event"] for entry in history_of(saga)["events"]] == [
        "__created__", "paymentExecuted", "orderPrepared", "orderDelivered",
    ]  # fmt: skip
    assert [label for _, label in commands_of(plan)] == ["deliverOrder"]
    assert plan.outcomes == {Outcome.ADOPTED: 1, Outcome.ADVANCED: 2}
    assert saga.seq > 4
    assert partition.sagas.by_state["delivered"] == 1
    assert partition.sagas.by_state[""] == 0


def test_what_a_document_does_not_say_comes_from_the_machine(partition: Partition) -> None:
    plan_and_confirm(partition, [event_record("nonsense")])
    plan_and_confirm(partition, internal=[loaded(stored("paymentExecuted", "orderPrepared", "orderDelivered"))])
    saga = get_saga(partition)
    assert (saga.business_state_id, saga.business_state_description, saga.revision) == (2, "Done", "r1")
    assert saga.is_final


def test_event_behind_the_answer_in_one_batch_comes_after_those_that_waited(partition: Partition) -> None:
    plan_and_confirm(partition, [event_record("orderPrepared")])
    plan_and_confirm(partition, [event_record("orderDelivered", offset=1)], [loaded(stored("paymentExecuted"))])
    assert get_saga(partition).current_state == "delivered"


def test_saga_that_the_store_does_not_know_leaves_its_events_as_unmatched(partition: Partition) -> None:
    plan_and_confirm(partition, numbered([event_record("orderPrepared"), event_record("orderDelivered")]))
    plan = plan_and_confirm(partition, internal=[loaded(None)])
    assert KEY not in partition.sagas
    assert [record.topic for record in written_by(plan)] == [UNMATCHED, UNMATCHED, SAGAS]
    assert written_by(plan)[-1].value is None
    assert [(entry.outcome, entry.label) for entry in plan.unmatched] == [
        (Outcome.UNKNOWN_SAGA, "orderPrepared"),
        (Outcome.UNKNOWN_SAGA, "orderDelivered"),
    ]
    assert partition.sagas.by_state[""] == 0


def test_event_behind_a_no_in_one_batch_is_asked_about_anew(partition: Partition) -> None:
    plan_and_confirm(partition, [event_record("orderPrepared")])
    plan = plan_and_confirm(partition, [event_record("orderDelivered", offset=1)], [loaded(None)])
    assert plan.awaited == [SAGA_ID]
    assert [held.label for held in get_saga(partition).held] == ["orderDelivered"]
    assert partition.sagas.by_state[""] == 1
    assert recount(partition) == {"": 1}


def test_second_answer_changes_nothing(partition: Partition) -> None:
    plan_and_confirm(partition, [event_record("orderPrepared")])
    plan_and_confirm(partition, internal=[loaded(stored("paymentExecuted"))])
    before = get_saga(partition)
    for answer in (loaded(None), loaded(stored("paymentExecuted"))):
        plan = plan_and_confirm(partition, internal=[answer])
        assert dict(plan.outcomes) == {Outcome.DUPLICATE: 1}
    assert as_json(get_saga(partition)) == as_json(before)


def test_creation_of_an_awaited_saga_makes_a_new_one_that_keeps_its_events(partition: Partition) -> None:
    plan_and_confirm(partition, [event_record("paymentExecuted")])
    plan = plan_and_confirm(partition, [create_record(offset=1), event_record("orderPrepared", offset=1)])
    assert get_saga(partition).current_state == "delivering"
    assert plan.outcomes[Outcome.CREATED] == 1
    assert dict(plan_and_confirm(partition, internal=[loaded(None)]).outcomes) == {Outcome.DUPLICATE: 1}


def test_saga_in_a_state_that_the_machine_does_not_know_is_held(partition: Partition) -> None:
    other = Partition(without_state(order_machine(), "preparing"), partition.settings)
    plan_and_confirm(other, [event_record("orderPrepared")])
    plan_and_confirm(other, internal=[loaded(stored("paymentExecuted"))])
    saga = get_saga(other)
    assert (saga.current_state, len(saga.held)) == ("preparing", 1)


def test_saga_that_no_record_can_hold_is_given_up_with_its_reason() -> None:
    partition = new_partition(is_read_through=True, record_bytes_max=2_000)
    plan_and_confirm(partition, [event_record("orderPrepared")])
    large = msgspec.structs.replace(stored("paymentExecuted"), metadata=encode_payload({"text": "x" * 5_000}))
    plan = plan_and_confirm(partition, internal=[loaded(large)])
    assert [entry.outcome for entry in plan.unmatched] == [Outcome.TOO_LARGE]
    assert KEY not in partition.sagas


def test_saga_of_ours_that_had_left_comes_back_with_a_higher_seq(partition: Partition) -> None:
    kept = saga_after(order_machine(), "paymentExecuted", "orderPrepared", "orderDelivered")
    plan_and_confirm(partition, [event_record("orderDelivered")])
    plan_and_confirm(partition, internal=[loaded(kept)])
    saga = get_saga(partition)
    assert saga.current_state == "delivered"
    assert saga.seq > kept.seq


def test_without_read_through_nothing_waits() -> None:
    partition = new_partition()
    plan = plan_and_confirm(partition, [event_record("orderPrepared")])
    assert dict(plan.outcomes) == {Outcome.UNKNOWN_SAGA: 1}
    assert len(partition.sagas) == 0
