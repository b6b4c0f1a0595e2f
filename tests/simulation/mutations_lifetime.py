"""More mutations: of what befalls a saga in the course of its life, in the worlds that have it.

Revisions of its machine that do not know its state, another way to commit, hooks that fail, and being forgotten.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from flowmachine.core import decide
from flowmachine.core.actions import Decision, Outcome
from flowmachine.core.definition import CustomizerBuilder, HookError, Machine, State
from flowmachine.core.inputs import EventReceived, Input
from flowmachine.core.saga import Saga
from flowmachine.partition import batch
from flowmachine.partition import sagas as partition_sagas
from flowmachine.partition.partition import Partition
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.ports import Transaction
from flowmachine.runtime import partition_task
from flowmachine.wire.log import SagaRecords
from tests.simulation.direct import SettlingPartitionLog
from tests.simulation.log import SimulatedPartitionLog
from tests.simulation.mutations import Mutation
from tests.simulation.world import SHORT_RETENTION_MS, World

# --- revisions of the machine -----------------------------------------------------------------------------------------


def events_that_must_wait_are_refused() -> AbstractContextManager[object]:
    def refuse(saga: Saga, received: EventReceived, reason: str, failures: Any = ()) -> Decision:
        del received, failures
        return Decision(Outcome.UNEXPECTED, saga, reason=reason)

    return patch.object(decide, "_hold_event", refuse)


def held_sagas_are_not_resumed_by_an_engine_that_starts() -> AbstractContextManager[object]:
    return patch.object(Partition, "is_resumable", lambda *_: False)


@contextmanager
def held_events_are_applied_newest_first() -> Iterator[None]:
    resume = decide._decide_resumed

    def resume_newest(machine: Machine, saga: Saga | None, received: Any) -> Decision:
        if saga is not None and len(saga.held) > 1:
            saga = msgspec.structs.replace(saga, held=(saga.held[-1], *saga.held[:-1]))
        return resume(machine, saga, received)

    with patch.object(decide, "_decide_resumed", resume_newest):
        yield


# --- the delivery that changes ----------------------------------------------------------------------------------------


def an_engine_with_transactions_does_not_look_for_a_journal() -> AbstractContextManager[object]:
    open_partition, open_settling = SimulatedPartitionLog.open, SettlingPartitionLog.open

    async def open_blindly(self: SettlingPartitionLog) -> None:
        await (open_settling(self) if self.is_direct else open_partition(self))

    return patch.object(SettlingPartitionLog, "open", open_blindly)


# --- hooks ------------------------------------------------------------------------------------------------------------


@contextmanager
def a_command_whose_hook_failed_is_left_out() -> Iterator[None]:
    send = decide._send

    def send_on(*arguments: Any) -> Decision:
        decision = send(*arguments)
        assert decision.saga is not None
        return msgspec.structs.replace(decision, saga=msgspec.structs.replace(decision.saga, hold=None))

    with patch.object(decide, "_send", send_on):
        yield


def an_event_whose_merge_hook_failed_is_dropped() -> AbstractContextManager[object]:
    merge = decide._merge_by_hook

    def merge_or_keep(customizer: CustomizerBuilder, saga: Saga, received: EventReceived) -> Any:
        try:
            return merge(customizer, saga, received)
        except HookError:
            return saga.metadata

    return patch.object(decide, "_merge_by_hook", merge_or_keep)


def events_do_not_wait_for_a_command_that_is_held() -> AbstractContextManager[object]:
    def decide_at_once(machine: Machine, saga: Saga | None, received: Input) -> Decision:
        is_held = saga is not None and saga.hold is not None and saga.hold.command is not None
        if saga is not None and is_held and isinstance(received, EventReceived):
            saga = msgspec.structs.replace(saga, hold=None)
        return decide.decide(machine, saga, received)

    return patch.object(batch, "decide", decide_at_once)


@contextmanager
def a_held_command_is_sent_and_stays_held() -> Iterator[None]:
    send = decide._send_held_command

    def send_and_keep(machine: Machine, saga: Saga, state: State, received: Any) -> Decision:
        decision = send(machine, saga, state, received)
        if decision.outcome is not Outcome.RESUMED or decision.saga is None:
            return decision
        return msgspec.structs.replace(decision, saga=msgspec.structs.replace(decision.saga, hold=saga.hold))

    with patch.object(decide, "_send_held_command", send_and_keep):
        yield


# --- forgetting -------------------------------------------------------------------------------------------------------


def a_saga_is_forgotten_as_soon_as_it_has_finished() -> AbstractContextManager[object]:
    expired = PartitionSagas.expired

    def at_once(self: PartitionSagas, before_ms: int, count_max: int, *, skip: int = 0) -> tuple[int, list[bytes]]:
        return expired(self, before_ms + SHORT_RETENTION_MS, count_max, skip=skip)

    return patch.object(PartitionSagas, "expired", at_once)


def a_saga_is_forgotten_with_commands_in_its_outbox() -> AbstractContextManager[object]:
    return patch.object(partition_sagas, "_has_work", lambda _: False)


def a_saga_is_forgotten_in_memory_only() -> AbstractContextManager[object]:
    def without_tombstones(records: Any, next_offsets: Any, sagas: SagaRecords, commands: Any) -> Transaction:
        kept = {key: value for key, value in sagas.items() if value is not None}
        return Transaction(records, next_offsets, kept, commands)

    return patch.object(partition_task, "Transaction", without_tombstones)


def what_a_batch_forgets_does_not_count_for_the_next() -> AbstractContextManager[object]:
    expired = PartitionSagas.expired

    def from_the_first(self: PartitionSagas, before_ms: int, count_max: int, *, skip: int = 0) -> Any:
        del skip
        return expired(self, before_ms, count_max)

    return patch.object(PartitionSagas, "expired", from_the_first)


def a_restore_does_not_heed_tombstones() -> AbstractContextManager[object]:
    restore = PartitionSagas.restore

    def keep(self: PartitionSagas, key: bytes, value: bytes | None) -> None:
        if value:
            restore(self, key, value)

    return patch.object(PartitionSagas, "restore", keep)


def finished_sagas_are_not_found_by_a_restore() -> AbstractContextManager[object]:
    restore = PartitionSagas.restore

    def restore_and_forget(self: PartitionSagas, key: bytes, value: bytes | None) -> None:
        restore(self, key, value)
        self._finished.clear()

    return patch.object(PartitionSagas, "restore", restore_and_forget)


_WORLDS: Sequence[tuple[Callable[[World], bool], Sequence[Mutation]]] = (
    (
        lambda world: world.is_updated,
        (
            events_that_must_wait_are_refused,
            held_sagas_are_not_resumed_by_an_engine_that_starts,
            held_events_are_applied_newest_first,
        ),
    ),
    (lambda world: world.changes_delivery, (an_engine_with_transactions_does_not_look_for_a_journal,)),
    (
        lambda world: world.hooks is not None,
        (
            a_command_whose_hook_failed_is_left_out,
            an_event_whose_merge_hook_failed_is_dropped,
            events_do_not_wait_for_a_command_that_is_held,
            a_held_command_is_sent_and_stays_held,
        ),
    ),
    (
        lambda world: world.forgets,
        (
            a_saga_is_forgotten_as_soon_as_it_has_finished,
            a_saga_is_forgotten_with_commands_in_its_outbox,
            a_saga_is_forgotten_in_memory_only,
            what_a_batch_forgets_does_not_count_for_the_next,
            a_restore_does_not_heed_tombstones,
            finished_sagas_are_not_found_by_a_restore,
        ),
    ),
)

LIFETIME_MUTATIONS = {mutation.__name__: (mutation, has_it) for has_it, mutations in _WORLDS for mutation in mutations}
"""Name -> the mutation, and which worlds can show it."""
