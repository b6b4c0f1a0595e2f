"""What a batch of input records does to the sagas of one partition, before anything is written."""

from collections import Counter
from typing import final

import msgspec

from flowmachine.core.actions import HookFailure, Outcome
from flowmachine.core.saga import OutboxEntry
from flowmachine.partition.tracing import Step
from flowmachine.wire.log import CommandRow, OutputRecord, Place


@final
class Unmatched(msgspec.Struct, frozen=True, gc=False):
    """An input that changed nothing, for the log line and the counters."""

    outcome: Outcome
    reason: str
    origin: str
    saga_id: str
    label: str


@final
class FailedHook(msgspec.Struct, frozen=True, gc=False):
    """A hook that failed, for the log line and the counters."""

    saga_id: str
    state: str
    failure: HookFailure


@final
class BatchPlan(msgspec.Struct, frozen=True):
    """Everything one transaction makes visible, and what becomes true in memory once it has."""

    records: list[OutputRecord]
    """What it forwards, and what it refuses."""
    next_offsets: dict[tuple[str, int], int]
    changed: dict[bytes, bytes | None]
    """Sagas by their keys, as the changelog gets them; None: forgotten."""
    state_changes: Counter[str]
    held_changes: Counter[str]
    finished: list[tuple[int, bytes]]
    outboxes: dict[str, tuple[OutboxEntry, ...]]
    """By saga id: the outbox of every changed saga that has or had one."""
    entered: Counter[tuple[str, str]]
    """(state, event) -> how often."""
    outcomes: Counter[Outcome]
    unmatched: list[Unmatched]
    failed_hooks: list[FailedHook]
    forwarded: int
    expired_count: int
    resumable: list[str]
    """Sagas that are held and may go on now."""
    commands: dict[Place, list[CommandRow]] = {}
    """By where they go; places without any are there, too."""
    awaited: list[str] = []
    """Sagas that are to be loaded from a store."""
    moved_at_ms: list[int] = []
    """The times of the records that made a saga or moved one."""
    traced: list[Step] = []
    """For traces; empty unless somebody wants them."""
    records_taken: int = 0
    internal_taken: int = 0
    """How many inputs it has taken; those that would have made it too large are left for the next one."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.records or self.changed or self.next_offsets or any(self.commands.values()))
