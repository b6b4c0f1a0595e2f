import copy
from collections import Counter
from typing import Any

import msgspec
import pytest

from flowmachine.core.actions import Outcome
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Create
from flowmachine.core.payload import decode_payload, encode_payload
from flowmachine.core.saga import OutboxEntry
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.message import encode_message
from flowmachine.wire.record import decode_saga, encode_saga
from tests.support.builders import (
    COMMANDS,
    EVENTS,
    INTAKE,
    KEY,
    NOW_MS,
    SAGA_ID,
    SAGAS,
    commands_of,
    create,
    create_record,
    event_record,
    get_saga,
    key_at_home,
    new_partition,
    numbered,
    order_machine,
    plan_and_confirm,
    put_saga,
    record,
    recount,
    rest_machine,
    saga_after,
    small_machine,
    written_by,
)

ORDERS = order_machine()
WAY_THROUGH = ("paymentExecuted", "orderPrepared", "orderDelivered")


def memory_of(partition: Partition) -> Any:
    """All that a partition remembers."""
    sagas = partition.sagas
    return copy.deepcopy((sagas._records, list(sagas._finished), sagas.by_state))


def topics_of(plan: BatchPlan) -> Counter[str]:
    return Counter(each.topic for each in written_by(plan))


def delivered(entry_id: str, *, saga_id: str = SAGA_ID) -> CommandDelivered:
    return CommandDelivered(SagaId(saga_id), entry_id, NOW_MS)


# --- what a batch makes visible ---------------------------------------------------------------------------------------


def test_creation_writes_the_command_and_the_saga_with_its_id_as_key() -> None:
    plan = new_partition().plan([create_record({"items": 2}, offset=7)], [], NOW_MS)
    expected = saga_after(ORDERS, metadata={"items": 2})
    assert written_by(plan) == [
        OutputRecord(COMMANDS, KEY, encode_message("executePayment", {"items": 2})),
        OutputRecord(SAGAS, KEY, encode_saga(expected), partition=0),
    ]
    assert plan.next_offsets == {(INTAKE, 0): 8}
    assert plan.outcomes == {Outcome.CREATED: 1}
    assert plan.entered == {("paying", "__created__"): 1}
    assert (plan.unmatched, plan.forwarded, plan.resumable, plan.outboxes, plan.finished) == ([], 0, [], {}, [])


def test_saga_that_moves_several_times_is_written_once_and_all_its_commands_go_out_in_order() -> None:
    records = [create_record(), *(event_record(label, offset=number) for number, label in enumerate(WAY_THROUGH))]
    plan = new_partition().plan(records, [], NOW_MS)
    assert commands_of(plan) == [(COMMANDS, "executePayment"), (COMMANDS, "prepareOrder"), (COMMANDS, "deliverOrder")]
    assert topics_of(plan) == {COMMANDS: 3, SAGAS: 1}
    assert decode_saga(plan.changed[KEY] or b"") == saga_after(ORDERS, *WAY_THROUGH)
    assert written_by(plan)[-1] == OutputRecord(SAGAS, KEY, plan.changed[KEY], partition=0)
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.ADVANCED: 3}
    assert plan.state_changes == Counter(delivered=1)
    assert plan.finished == [(NOW_MS, KEY)]


def test_inputs_of_a_saga_are_applied_in_the_order_of_the_batch() -> None:
    backwards = [create_record(), event_record("orderPrepared"), event_record("paymentExecuted")]
    plan = new_partition().plan(backwards, [], NOW_MS)
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.UNEXPECTED: 1, Outcome.ADVANCED: 1}
    assert decode_saga(plan.changed[KEY] or b"").current_state == "preparing"


def test_sagas_of_a_batch_do_not_mix() -> None:
    partition = new_partition()
    records = [
        create_record({"who": "a"}, key="a"),
        create_record({"who": "b"}, key="b", offset=1),
        event_record("paymentExecuted", {"n": 1}, key="b"),
        event_record("paymentFailed", {"n": 2}, key="a", offset=1),
    ]
    plan = plan_and_confirm(partition, records)
    assert decode_payload(get_saga(partition, "a").metadata) == {"who": "a", "n": 2}
    assert decode_payload(get_saga(partition, "b").metadata) == {"who": "b", "n": 1}
    assert [(each.key, each.topic) for each in written_by(plan)] == [
        (b"a", COMMANDS),
        (b"b", COMMANDS),
        (b"b", COMMANDS),
        (b"a", SAGAS),
        (b"b", SAGAS),
    ]


def test_batch_continues_what_earlier_batches_did() -> None:
    partition = new_partition()
    for number, each in enumerate([create_record(), *map(event_record, WAY_THROUGH)]):
        plan_and_confirm(partition, [msgspec.structs.replace(each, offset=number)])
    assert get_saga(partition) == saga_after(ORDERS, *WAY_THROUGH)


def test_command_goes_to_every_topic_of_its_channel() -> None:
    plan = new_partition(rest_machine()).plan([create_record()], [], NOW_MS)
    assert commands_of(plan) == [("audit-a", "tell"), ("audit-b", "tell")]


def test_next_offsets_are_those_after_the_last_record_of_each_topic_partition() -> None:
    records = [
        create_record(offset=10),
        event_record("a", offset=5),
        event_record("b", offset=6),
        event_record("c", topic="other", partition=3, offset=0),
        record(b"junk", key=None, offset=9),
    ]
    plan = new_partition().plan(records, [], NOW_MS)
    assert plan.next_offsets == {(INTAKE, 0): 11, (EVENTS, 0): 10, ("other", 3): 1}


def test_batch_without_anything_is_empty() -> None:
    plan = new_partition().plan([], [], NOW_MS)
    assert plan.is_empty
    assert (written_by(plan), plan.next_offsets) == ([], {})


def test_batch_whose_records_change_nothing_still_commits_their_offsets() -> None:
    partition = new_partition()
    plan_and_confirm(partition, [create_record()])
    plan = partition.plan([create_record(offset=1)], [], NOW_MS)
    assert not plan.is_empty
    assert (written_by(plan), plan.changed, plan.state_changes) == ([], {}, {})
    assert plan.next_offsets == {(INTAKE, 0): 2}


def test_input_from_inside_that_changes_nothing_needs_no_transaction() -> None:
    partition = new_partition(rest_machine())
    plan_and_confirm(partition, [create_record()])
    plan = partition.plan([], [delivered("99"), delivered("1", saga_id="nobody")], NOW_MS)
    assert plan.is_empty
    assert plan.outcomes == {Outcome.DUPLICATE: 1, Outcome.UNKNOWN_SAGA: 1}
    assert plan.unmatched == []


def test_creation_header_means_something_only_in_the_intake() -> None:
    plan = new_partition().plan([create_record(topic=EVENTS)], [], NOW_MS)
    assert plan.outcomes == {Outcome.MALFORMED: 1}


def test_record_of_the_intake_without_the_header_is_an_event() -> None:
    plan = new_partition().plan(
        numbered([create_record(), event_record("paymentExecuted", topic=INTAKE, headers=(("other", b"create"),))]),
        [],
        NOW_MS,
    )
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.ADVANCED: 1}


# --- planning and confirming ------------------------------------------------------------------------------------------


def test_planning_changes_nothing_in_memory_and_gives_the_same_answer_twice() -> None:
    partition = new_partition(rest_machine(), retention_finished_ms=0)
    plan_and_confirm(partition, [create_record(key="old"), event_record("stop", key="old"), create_record()])
    before = memory_of(partition)
    records = [event_record("step"), event_record("stop"), event_record("x"), create_record(key="new"), record(b"junk")]
    inputs = [delivered("1"), delivered("1", saga_id="old")]
    first = partition.plan(records, inputs, NOW_MS + 10)
    assert memory_of(partition) == before
    assert partition.plan(records, inputs, NOW_MS + 10) == first


def test_plan_becomes_true_in_memory_when_it_is_confirmed() -> None:
    partition = new_partition()
    plan = partition.plan([create_record()], [], NOW_MS)
    assert KEY not in partition.sagas
    assert len(partition.sagas) == 0
    partition.confirm(plan)
    assert KEY in partition.sagas
    assert list(partition.sagas) == [KEY]
    assert partition.sagas.get(KEY) == plan.changed[KEY]
    assert partition.sagas.by_state == {"paying": 1}


def test_dropped_plan_leaves_nothing_behind() -> None:
    partition, other = new_partition(), new_partition()
    partition.plan([create_record(), event_record("paymentExecuted")], [], NOW_MS)
    records = [create_record({"second": "try"})]
    assert partition.plan(records, [], NOW_MS) == other.plan(records, [], NOW_MS)


def test_sagas_by_state_follow_every_move() -> None:
    partition = new_partition()
    plan_and_confirm(partition, [create_record(key="a"), create_record(key="b"), create_record(key="c")])
    assert +partition.sagas.by_state == {"paying": 3}
    plan_and_confirm(
        partition,
        [event_record("paymentExecuted", key="a"), event_record("paymentFailed", key="b"), create_record(key="d")],
    )
    assert +partition.sagas.by_state == {"paying": 2, "preparing": 1, "failed": 1} == recount(partition)


# --- inputs from inside -----------------------------------------------------------------------------------------------


def test_inputs_from_inside_go_before_the_records() -> None:
    partition = new_partition(rest_machine())
    plan_and_confirm(partition, [create_record()])
    plan_and_confirm(partition, [event_record("step")], [delivered("1")])
    assert [entry.id for entry in get_saga(partition).outbox] == ["1.2", "3", "3.2"]  # step was the third change


def test_input_from_inside_may_create_a_saga() -> None:
    partition = new_partition()
    internal: list[Create] = [create({"from": "inside"})]
    plan = plan_and_confirm(partition, [event_record("paymentExecuted")], internal)
    assert plan.outcomes == {Outcome.CREATED: 1, Outcome.ADVANCED: 1}
    assert get_saga(partition).current_state == "preparing"


# --- outboxes ---------------------------------------------------------------------------------------------------------


def test_outbox_of_every_changed_saga_that_has_one_is_reported() -> None:
    partition = new_partition(rest_machine())
    plan = plan_and_confirm(partition, [create_record({"a": 1}, key="a"), create_record(key="b")])
    work = OutboxEntry("1", "rest", "work", encode_payload({"a": 1}))
    notify = OutboxEntry("1.2", "rest", "notify", encode_payload({"a": 1}), is_side_command=True)
    assert plan.outboxes == {"a": (work, notify), "b": partition.outbox(b"b")}
    plan = plan_and_confirm(partition, [], [CommandFailed(SagaId("a"), "1", "gone", NOW_MS)])
    assert plan.outboxes == {"a": (msgspec.structs.replace(work, failure="gone"), notify)}


def test_outbox_that_has_become_empty_is_reported_once() -> None:
    partition = new_partition(rest_machine())
    plan_and_confirm(partition, [create_record()])
    assert plan_and_confirm(partition, [], [delivered("1"), delivered("1.2")]).outboxes == {SAGA_ID: ()}
    assert plan_and_confirm(partition, [event_record("unexpected")]).outboxes == {}


def test_sagas_without_outbox_are_not_reported() -> None:
    assert new_partition().plan([create_record(), event_record("paymentExecuted")], [], NOW_MS).outboxes == {}


def test_outbox_is_read_from_memory() -> None:
    partition = new_partition(rest_machine())
    assert partition.outbox(KEY) == ()
    put_saga(partition, saga_after(rest_machine()))
    assert [entry.id for entry in partition.outbox(KEY)] == ["1", "1.2"]


# --- forwarding -------------------------------------------------------------------------------------------------------

AWAY = key_at_home(2, home_partitions=4)
HERE = key_at_home(0, home_partitions=4)


@pytest.mark.parametrize(
    "value", [encode_message("paymentExecuted", {"a": 1}), b"junk", None], ids=["event", "junk", "none"]
)
def test_unknown_saga_with_another_home_is_forwarded_as_it_came(value: bytes | None) -> None:
    partition = new_partition(home_partitions=4)
    came = record(
        value, key=AWAY, partition=7, offset=42, at_ms=NOW_MS - 9, headers=(("flowmachine-input", b"create"),)
    )
    plan = partition.plan([came], [], NOW_MS)
    assert written_by(plan) == [
        OutputRecord(INTAKE, AWAY, value, 2, (("flowmachine-origin", f"{EVENTS}/7/42".encode()),), NOW_MS - 9)
    ]
    assert plan.forwarded == 1
    assert plan.next_offsets == {(EVENTS, 7): 43}
    assert (plan.outcomes, plan.unmatched, plan.changed) == ({}, [], {})


def test_unknown_saga_at_home_is_kept_as_unmatched() -> None:
    plan = new_partition(home_partitions=4).plan([event_record("paymentExecuted", key=HERE)], [], NOW_MS)
    assert (plan.forwarded, plan.outcomes) == (0, {Outcome.UNKNOWN_SAGA: 1})


def test_record_of_the_intake_is_never_forwarded() -> None:
    plan = new_partition(home_partitions=4).plan([event_record("paymentExecuted", key=AWAY, topic=INTAKE)], [], NOW_MS)
    assert (plan.forwarded, plan.outcomes) == (0, {Outcome.UNKNOWN_SAGA: 1})


def test_forwarded_events_of_a_saga_keep_their_order() -> None:
    records = [event_record(label, key=AWAY, offset=number) for number, label in enumerate("abc")]
    plan = new_partition(home_partitions=4).plan(records, [], NOW_MS)
    assert [each.value for each in written_by(plan)] == [each.value for each in records]


def test_forwarded_event_is_applied_where_its_saga_lives() -> None:
    home, elsewhere = new_partition(partition=2, home_partitions=4), new_partition(home_partitions=4)
    plan_and_confirm(home, [create_record(key=AWAY, partition=2)])
    (sent,) = elsewhere.plan([event_record("paymentExecuted", {"a": 1}, key=AWAY)], [], NOW_MS).records
    came = record(sent.value, key=sent.key, topic=sent.topic, partition=2, offset=1, headers=sent.headers)
    assert plan_and_confirm(home, [came]).outcomes == {Outcome.ADVANCED: 1}
    assert decode_payload(get_saga(home, AWAY.decode()).metadata) == {"a": 1}


def test_event_for_a_saga_created_in_the_same_batch_is_not_taken_for_one_of_elsewhere() -> None:
    plan = new_partition(small_machine(), home_partitions=4).plan(
        [create_record(key=HERE), event_record("step", key=HERE)], [], 0
    )
    assert (plan.forwarded, plan.outcomes) == (0, {Outcome.CREATED: 1, Outcome.ADVANCED: 1})


# --- times ------------------------------------------------------------------------------------------------------------


def test_times_of_the_records_that_moved_a_saga_are_kept() -> None:
    partition = new_partition()
    records = [create_record(at_ms=1_000), create_record(at_ms=2_000), event_record("paymentExecuted", at_ms=3_000)]
    assert partition.plan([*records, event_record("unheardOf", at_ms=4_000)], [], NOW_MS).moved_at_ms == [1_000, 3_000]
