"""Ways to break the engine, or what it stands on, that a reviewer might not see: the simulation must catch each one.

A mutation is a context manager that is in force while seeds run. Those of the log break the simulated adapter in a way
in which the real one could be broken: it takes the same steps.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import msgspec

from flowmachine.core import decide
from flowmachine.core.actions import Decision
from flowmachine.core.definition import Machine, SagaId
from flowmachine.core.saga import Saga
from flowmachine.errors import FencedError, TransientError
from flowmachine.partition.batch import Batch
from flowmachine.partition.partition import Partition
from flowmachine.ports import Transaction
from flowmachine.runtime.delivery import Delivery
from flowmachine.runtime.engine import Engine
from flowmachine.runtime.partition_task import PartitionTask
from flowmachine.wire.log import Fetch
from tests.simulation.direct import DirectPartitionLog
from tests.simulation.log import SimulatedPartitionLog, SimulatedSource

Mutation = Callable[[], AbstractContextManager[object]]


# --- the log ----------------------------------------------------------------------------------------------------------


def offsets_are_committed_before_the_commands() -> AbstractContextManager[object]:
    async def send_offsets(self: SimulatedPartitionLog, _: object, offsets: dict[Any, int]) -> None:
        await self._network.request("offsets", lambda: self._broker.committed.update(offsets))

    return patch.object(SimulatedPartitionLog, "send_offsets", send_offsets)


def a_failed_send_is_not_noticed() -> AbstractContextManager[object]:
    send = SimulatedPartitionLog.send

    async def careless(self: SimulatedPartitionLog, *arguments: Any) -> int:
        try:
            return await send(self, *arguments)
        except TransientError:
            return 0

    return patch.object(SimulatedPartitionLog, "send", careless)


def sends_are_not_awaited() -> AbstractContextManager[object]:
    async def flush(_: SimulatedPartitionLog, sent: list[asyncio.Future[int]]) -> None:
        del sent

    return patch.object(SimulatedPartitionLog, "flush", flush)


def the_former_owner_is_not_fenced() -> AbstractContextManager[object]:
    async def fence(self: SimulatedPartitionLog) -> int:
        return await self._network.request("epoch", lambda: self._broker.epochs[self._home])

    return patch.object(SimulatedPartitionLog, "fence", fence)


@contextmanager
def offsets_are_read_before_the_fence() -> Iterator[None]:
    committed_offsets = SimulatedPartitionLog.committed_offsets

    async def open_early(self: SimulatedPartitionLog) -> None:
        committed = await committed_offsets(self)
        self._epoch = await self.fence()
        self._sources = [SimulatedSource(self._broker, self._network, *each) for each in committed.items()]

    with patch.object(SimulatedPartitionLog, "open", open_early):
        yield


@contextmanager
def a_restore_ends_where_the_changelog_ended_before_the_fence() -> Iterator[None]:
    open_partition, changelog_end = SimulatedPartitionLog.open, SimulatedPartitionLog.changelog_end

    async def open_early(self: SimulatedPartitionLog) -> None:
        end = self.early_end = await changelog_end(self)  # type: ignore[attr-defined]
        del end
        await open_partition(self)

    async def early_end(self: SimulatedPartitionLog) -> int:
        return self.early_end  # type: ignore[attr-defined, no-any-return]

    with (
        patch.object(SimulatedPartitionLog, "open", open_early),
        patch.object(SimulatedPartitionLog, "changelog_end", early_end),
    ):
        yield


def inputs_of_aborted_transactions_are_read() -> AbstractContextManager[object]:
    async def fetch(self: SimulatedSource) -> Fetch:
        while True:
            data = self._broker.partitions[self._place[0]][self._place[1]]
            entries = data.entries[self._position :]
            self._position += len(entries)
            records = [record for record, _ in entries if record is not None]
            if records:
                return Fetch.of(records)
            await self._broker.wait(self._place)

    return patch.object(SimulatedSource, "fetch", fetch)


# --- without transactions ---------------------------------------------------------------------------------------------


def what_the_last_journal_holds_is_not_sent() -> AbstractContextManager[object]:
    return patch.object(DirectPartitionLog, "unsent", lambda *_: [])


def the_former_owner_is_not_fenced_in_the_changelog() -> AbstractContextManager[object]:
    async def fence_direct(self: DirectPartitionLog) -> None:
        self._direct_epoch = await self._network.request("epoch", lambda: self._broker.direct_epochs[self._home])

    return patch.object(DirectPartitionLog, "fence_direct", fence_direct)


@contextmanager
def inputs_go_on_where_the_group_is_whatever_the_journal_says() -> Iterator[None]:
    settle = DirectPartitionLog._settle

    async def settle_alone(self: DirectPartitionLog, position: int) -> dict[Any, int]:
        await settle(self, position)
        return {}

    with patch.object(DirectPartitionLog, "_settle", settle_alone):
        yield


def offsets_of_before_are_committed_behind_a_transaction_in_doubt() -> AbstractContextManager[object]:
    return patch.object(DirectPartitionLog, "_raise_failure", lambda _: None)


# --- the partition task -----------------------------------------------------------------------------------------------


@contextmanager
def a_plan_is_confirmed_before_its_commit() -> Iterator[None]:
    start = PartitionTask._start_commit

    def start_and_confirm(self: PartitionTask, log: Any, plan: Any) -> Any:
        self.partition.confirm(plan)
        return start(self, log, plan)

    async def finish(self: PartitionTask, log: Any, commit: Any) -> None:
        del log
        seconds = await commit.task
        if not commit.plan.is_empty:
            self._report(commit.plan, seconds)
        self._settled = commit.finished

    with (
        patch.object(PartitionTask, "_start_commit", start_and_confirm),
        patch.object(PartitionTask, "_finish", finish),
    ):
        yield


def memory_keeps_what_a_failed_commit_was_to_make_true() -> AbstractContextManager[object]:
    finish = PartitionTask._finish

    async def finish_always(self: PartitionTask, log: Any, commit: Any) -> None:
        try:
            await finish(self, log, commit)
        except TransientError:
            self.partition.confirm(commit.plan)
            raise

    return patch.object(PartitionTask, "_finish", finish_always)


def an_unanswered_commit_is_sent_again() -> AbstractContextManager[object]:
    commit = SimulatedPartitionLog.commit

    async def again(self: SimulatedPartitionLog, transaction: Transaction) -> None:
        try:
            await commit(self, transaction)
        except TransientError:
            self._epoch = await self.fence()
            await commit(self, transaction)

    return patch.object(SimulatedPartitionLog, "commit", again)


def memory_is_trusted_after_an_error() -> AbstractContextManager[object]:
    restore = PartitionTask._restore

    async def restore_once(self: PartitionTask, log: Any) -> None:
        if not self._restored_to:
            await restore(self, log)

    return patch.object(PartitionTask, "_restore", restore_once)


def a_batch_does_not_see_the_one_before_it() -> AbstractContextManager[object]:
    plan = Partition.plan

    def plan_alone(self: Partition, records: Any, internal: Any, now_ms: int, *, after: object = None) -> Any:
        del after
        return plan(self, records, internal, now_ms)

    return patch.object(Partition, "plan", plan_alone)


def being_fenced_ends_a_partition() -> AbstractContextManager[object]:
    pause = PartitionTask._pause

    async def give_up(self: PartitionTask, error: Exception, seconds: float) -> None:
        if isinstance(error, FencedError):
            self._stopping.set()
        await pause(self, error, seconds)  # type: ignore[arg-type]

    return patch.object(PartitionTask, "_pause", give_up)


def a_read_does_not_wait_for_the_intake() -> AbstractContextManager[object]:
    async def at_once(self: PartitionTask, intake_end: int) -> None:
        del self, intake_end

    return patch.object(PartitionTask, "wait_caught_up", at_once)


# --- inputs, outboxes, the group --------------------------------------------------------------------------------------


def a_second_creation_starts_the_saga_anew() -> AbstractContextManager[object]:
    create = decide._decide_create
    return patch.object(decide, "_decide_create", lambda machine, _, received: create(machine, None, received))


def a_duplicate_event_is_kept_as_unexpected() -> AbstractContextManager[object]:
    return patch.object(decide, "history_labels", lambda _: [])


def an_input_of_another_home_is_dropped() -> AbstractContextManager[object]:
    return patch.object(Batch, "_forward", lambda *_: None)


def a_bad_input_is_not_kept() -> AbstractContextManager[object]:
    return patch.object(Batch, "_keep", lambda *_: None)


def commands_over_http_are_forgotten_in_a_crash() -> AbstractContextManager[object]:
    return patch.object(PartitionTask, "_resume", lambda _: None)


def a_command_over_http_is_settled_by_any_answer() -> AbstractContextManager[object]:
    attempt = Delivery._attempt

    async def attempt_once(self: Delivery, saga_id: str, entry: Any) -> None:
        await attempt(self, saga_id, entry)

    return patch.object(Delivery, "_attempt", attempt_once)


def added_partitions_are_not_noticed() -> AbstractContextManager[object]:
    follow = Engine._follow

    async def follow_blindly(self: Engine, assignment: Any) -> None:
        if self.assignment is not None:
            assignment = msgspec.structs.replace(assignment, input_partitions=self.assignment.input_partitions)
        await follow(self, assignment)

    return patch.object(Engine, "_follow", follow_blindly)


def commands_over_http_are_forgotten_when_the_saga_goes_on() -> AbstractContextManager[object]:
    send = decide._send

    def send_alone(machine: Machine, saga_id: SagaId, entered: Saga, *others: Any) -> Decision:
        return send(machine, saga_id, msgspec.structs.replace(entered, outbox=()), *others)

    return patch.object(decide, "_send", send_alone)


@contextmanager
def a_side_command_is_given_up_after_one_attempt() -> Iterator[None]:
    deliver = Delivery._deliver

    async def deliver_once(self: Delivery, *arguments: Any) -> None:
        self._settings = replace(self._settings, side_attempts_max=1)
        await deliver(self, *arguments)

    with patch.object(Delivery, "_deliver", deliver_once):
        yield


MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        offsets_are_committed_before_the_commands,
        a_failed_send_is_not_noticed,
        sends_are_not_awaited,
        the_former_owner_is_not_fenced,
        offsets_are_read_before_the_fence,
        a_restore_ends_where_the_changelog_ended_before_the_fence,
        inputs_of_aborted_transactions_are_read,
        what_the_last_journal_holds_is_not_sent,
        the_former_owner_is_not_fenced_in_the_changelog,
        inputs_go_on_where_the_group_is_whatever_the_journal_says,
        offsets_of_before_are_committed_behind_a_transaction_in_doubt,
        a_plan_is_confirmed_before_its_commit,
        memory_keeps_what_a_failed_commit_was_to_make_true,
        an_unanswered_commit_is_sent_again,
        memory_is_trusted_after_an_error,
        a_batch_does_not_see_the_one_before_it,
        being_fenced_ends_a_partition,
        a_read_does_not_wait_for_the_intake,
        a_second_creation_starts_the_saga_anew,
        a_duplicate_event_is_kept_as_unexpected,
        an_input_of_another_home_is_dropped,
        a_bad_input_is_not_kept,
        commands_over_http_are_forgotten_in_a_crash,
        a_command_over_http_is_settled_by_any_answer,
        added_partitions_are_not_noticed,
        commands_over_http_are_forgotten_when_the_saga_goes_on,
        a_side_command_is_given_up_after_one_attempt,
    )
}
