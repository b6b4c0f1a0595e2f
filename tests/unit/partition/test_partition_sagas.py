import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.errors import InvariantError
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.wire.log import StoredRecord
from flowmachine.wire.record import encode_saga
from tests.support.builders import (
    KEY,
    SAGAS,
    create_record,
    event_record,
    machine,
    new_partition,
    order_machine,
    plan_and_confirm,
    recount,
    rest_machine,
    saga_after,
    small_machine,
    state,
    written_by,
)
from tests.support.strategies import heavy, record_lists

ORDERS = order_machine()
PAYING, PREPARING, FAILED = (
    encode_saga(saga_after(ORDERS, *labels)) for labels in ((), ("paymentExecuted",), ("paymentFailed",))
)


def test_restore_takes_the_latest_record_of_each_saga() -> None:
    sagas = PartitionSagas()
    for key, value in [(b"a", PAYING), (b"b", PAYING), (b"a", PREPARING)]:
        sagas.restore(key, value)
    assert (sagas.get(b"a"), sagas.get(b"b"), sagas.get(b"c")) == (PREPARING, PAYING, None)
    assert len(sagas) == 2
    assert +sagas.by_state == {"paying": 1, "preparing": 1}


@pytest.mark.parametrize("tombstone", [None, b""])
def test_restored_tombstone_removes_the_saga(tombstone: bytes | None) -> None:
    sagas = PartitionSagas()
    for value in (PAYING, tombstone, tombstone):
        sagas.restore(KEY, value)
    assert KEY not in sagas
    assert +sagas.by_state == {}
    sagas.restore(KEY, FAILED)
    assert +sagas.by_state == {"failed": 1}


def test_restoring_the_same_records_again_changes_nothing() -> None:
    sagas = PartitionSagas()
    for _ in range(2):
        for value in (PAYING, PREPARING):
            sagas.restore(KEY, value)
    assert +sagas.by_state == {"preparing": 1}
    assert len(sagas) == 1


@pytest.mark.parametrize("value", [b"junk", encode_saga(msgspec.structs.replace(saga_after(ORDERS), v=2))])
def test_record_that_cannot_be_restored_leaves_what_is_there(value: bytes) -> None:
    sagas = PartitionSagas()
    sagas.restore(KEY, PAYING)
    for _ in range(2):  # a partition task tries again and again
        with pytest.raises(InvariantError):
            sagas.restore(KEY, value)
    assert sagas.get(KEY) == PAYING
    assert +sagas.by_state == {"paying": 1}


def test_sagas_that_may_need_work_are_found() -> None:
    sagas = PartitionSagas()
    sagas.restore(b"idle", PAYING)
    sagas.restore(b"rest", encode_saga(saga_after(rest_machine())))
    assert sagas.needing_work() == [b"rest"]


def test_restart_finds_in_the_log_what_was_in_memory() -> None:
    partition = new_partition(small_machine(), retention_finished_ms=0)
    batches = [
        [create_record(key="a"), create_record(key="b"), create_record(key="c")],
        [event_record("step", key="a"), event_record("stop", key="b")],
        [event_record("stop", key="c"), event_record("again", key="c")],
        [],
    ]
    log = []
    for number, batch in enumerate(batches):
        plan = plan_and_confirm(partition, batch, now_ms=10**15 * (number // 3))
        log += [each for each in written_by(plan) if each.topic == SAGAS]
    restored = PartitionSagas()
    for each in log:
        restored.restore(each.key or b"", each.value)
    assert restored._records == partition.sagas._records
    assert set(restored) == {b"a", b"c"}
    assert +restored.by_state == +partition.sagas.by_state == {"looping": 2}


@heavy
@given(st.data())
def test_counts_by_state_are_those_of_a_recount(data: st.DataObject) -> None:
    """Through moves, expiry and restarts."""
    partition = new_partition(small_machine(), retention_finished_ms=0)
    for _ in range(data.draw(st.integers(1, 3))):
        batch: list[StoredRecord] = data.draw(record_lists(max_size=6))
        steps = [event_record(label, key=key) for label in ("step", "stop", "again") for key in ("a", "b")]
        batch += data.draw(st.lists(st.sampled_from(steps), max_size=4))
        plan_and_confirm(partition, batch, now_ms=data.draw(st.sampled_from([0, 2**62])))
        assert +partition.sagas.by_state == recount(partition)
        if data.draw(st.booleans()):
            partition.sagas.restore(b"a", data.draw(st.sampled_from([None, PAYING, FAILED])))
            assert +partition.sagas.by_state == recount(partition)


def test_states_without_sagas_count_zero_and_never_less() -> None:
    partition = new_partition(machine(state("only", is_final=True)), retention_finished_ms=0)
    plan_and_confirm(partition, [create_record()], now_ms=0)
    plan_and_confirm(partition, now_ms=10**15)
    assert partition.sagas.by_state == {"only": 0}
