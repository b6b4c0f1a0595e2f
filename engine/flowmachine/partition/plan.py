"""A batch, planned: what a run of input records does to the sagas of one partition, before anything is written.

    records ─► plan() ─► BatchPlan ─► one transaction ─► confirm()
                             └──────► (transaction failed) ─► dropped: nothing to undo

A plan sees the partition's sagas plus the batch's own changes. A saga that moves several times in a batch is written
once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import final

import msgspec

from flowmachine.core.actions import CHANGING, Decision, HookFailure, Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine, SagaId, StateId
from flowmachine.core.inputs import Create, EventReceived, Input, Resumed
from flowmachine.core.partitioners import home
from flowmachine.core.saga import Hold, OutboxEntry, Saga, drop_oldest_held
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.wire.intake import CREATE, INPUT_HEADER, ORIGIN_HEADER, decode_creation, is_reread
from flowmachine.wire.log import InputRecord, OutputRecord, StoredRecord
from flowmachine.wire.message import MalformedError, decode_message, encode_message
from flowmachine.wire.record import decode_saga, encode_saga
from flowmachine.wire.unmatched import encode_unmatched, format_origin

EXPIRED_PER_BATCH_MAX = 500
"""Tombstones that ride along with one batch: enough to keep up with any load, too few to delay one."""

_NAME_LENGTH_MAX, _REASON_LENGTH_MAX = 200, 1000
"""What is noted of a refused input goes to the log, and its length is the sender's: it is cut."""


@final
class PartitionSettings(msgspec.Struct, frozen=True):
    """What a partition needs to know besides its machine."""

    partition: int
    home_partitions: int
    intake_topic: str
    sagas_topic: str
    unmatched_topic: str
    command_topics: Mapping[str, tuple[str, ...]]
    """Channel id to the topics that its commands go to; channels that are not Kafka are absent."""
    retention_finished_ms: int
    record_bytes_max: int
    aligned_topics: frozenset[str] = frozenset()
    """Topics with as many partitions as there are homes: a saga's commands go to the partition of its home's number."""


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
    next_offsets: dict[tuple[str, int], int]
    changed: dict[bytes, bytes | None]
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

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.records and not self.next_offsets


class Partition:
    """The sagas of one home partition under one machine."""

    def __init__(self, machine: Machine, settings: PartitionSettings) -> None:
        self.machine = machine
        self.settings = settings
        self.sagas = PartitionSagas()

    def plan(
        self,
        records: Sequence[InputRecord],
        internal: Sequence[Input],
        now_ms: int,
        *,
        after: BatchPlan | None = None,
    ) -> BatchPlan:
        """Decide a batch: first `internal` inputs (settled commands, resumed sagas), then the log's records in order.

        `after` is a plan that is being committed: this one builds on it, and is void if that one fails.

        Changes nothing in memory. Every record ends up in exactly one outcome, or is forwarded to its home.
        """
        batch = _Batch(self, after, is_exact=False)
        batch.run(records, internal, now_ms)
        if batch.record_bytes > self.settings.record_bytes_max:
            # Rare: some input makes a record that the log would refuse. Only now is each decision encoded and measured.
            batch = _Batch(self, after, is_exact=True)
            batch.run(records, internal, now_ms)
        return batch.to_plan()

    def confirm(self, plan: BatchPlan) -> None:
        """The plan's transaction has been committed: make it true in memory."""
        self.sagas.apply(plan.changed, plan.finished, plan.expired_count)
        self.sagas.by_state.update(plan.state_changes)
        self.sagas.held_by_state.update(plan.held_changes)

    def outbox(self, key: bytes) -> tuple[OutboxEntry, ...]:
        """A saga's outbox."""
        value = self.sagas.get(key)
        return decode_saga(value).outbox if value else ()

    def is_resumable(self, key: bytes) -> bool:
        """Whether a saga is held and may go on now that an engine starts: a hook that failed is tried once more."""
        value = self.sagas.get(key)
        if value is None:
            return False
        saga = decode_saga(value)
        return self.can_resume(saga) or (saga.hold is not None and StateId(saga.current_state) in self.machine.states)

    def can_resume(self, saga: Saga) -> bool:
        """Whether a saga is held and may go on: this machine knows its state, and none of its hooks has failed."""
        if saga.hold is not None and saga.hold.revision == self.machine.revision:
            return False
        return bool(saga.held or saga.hold) and StateId(saga.current_state) in self.machine.states


class _Batch:
    """The work of one `plan()` call; hot: a record costs a few microseconds here (`docs/performance.md`)."""

    def __init__(self, partition: Partition, after: BatchPlan | None, *, is_exact: bool) -> None:
        self.machine = partition.machine
        self.settings = partition.settings
        self.stored = partition.sagas
        self.can_resume = partition.can_resume
        self.pending: Mapping[bytes, bytes | None] = after.changed if after is not None else {}
        self.pending_expired = after.expired_count if after is not None else 0
        self.is_exact = is_exact
        self.record_bytes = 0
        """Size of the largest record, key and value."""
        self.working: dict[bytes, Saga] = {}
        self.before: dict[bytes, Saga | None] = {}
        self.records: list[OutputRecord] = []
        self.next_offsets: dict[tuple[str, int], int] = {}
        self.changed: dict[bytes, bytes | None] = {}
        self.entered: Counter[tuple[str, str]] = Counter()
        self.outcomes: Counter[Outcome] = Counter()
        self.unmatched: list[Unmatched] = []
        self.failed_hooks: list[FailedHook] = []
        self.state_changes: Counter[str] = Counter()
        self.held_changes: Counter[str] = Counter()
        self.finished: list[tuple[int, bytes]] = []
        self.outboxes: dict[str, tuple[OutboxEntry, ...]] = {}
        self.resumable: list[str] = []
        self.forwarded = 0
        self.expired_count = 0

    def run(self, records: Sequence[InputRecord], internal: Sequence[Input], now_ms: int) -> None:
        for received in internal:
            self._take_internal(received)
        for record in records:
            self._take_record(record)
        # In the order of the log, so the last one of each partition stays.
        self.next_offsets = {(record.topic, record.partition): record.offset + 1 for record in records}
        for key, saga in self.working.items():
            before = self.before[key]
            if saga is not before:
                self._write(key, saga, before)
        self._expire(now_ms)

    def _write(self, key: bytes, saga: Saga, before: Saga | None) -> None:
        """Add a changed saga's record, and note what its change means for memory."""
        value = encode_saga(saga)
        self.record_bytes = max(self.record_bytes, len(key) + len(value))
        self.changed[key] = value
        self.records.append(OutputRecord(self.settings.sagas_topic, key, value, self.settings.partition))
        if before is not None:
            self.state_changes[before.current_state] -= 1
            self.held_changes[before.current_state] -= _is_held(before)
        self.state_changes[saga.current_state] += 1
        self.held_changes[saga.current_state] += _is_held(saga)
        if saga.outbox or (before is not None and before.outbox):
            self.outboxes[key.decode()] = saga.outbox
        if self.can_resume(saga):
            self.resumable.append(key.decode())
        if saga.is_final:
            self.finished.append((parse_timestamp(saga.updated_at), key))

    def to_plan(self) -> BatchPlan:
        return BatchPlan(
            records=self.records,
            next_offsets=self.next_offsets,
            changed=self.changed,
            state_changes=self.state_changes,
            held_changes=self.held_changes,
            finished=self.finished,
            outboxes=self.outboxes,
            entered=self.entered,
            outcomes=self.outcomes,
            unmatched=self.unmatched,
            failed_hooks=self.failed_hooks,
            forwarded=self.forwarded,
            expired_count=self.expired_count,
            resumable=self.resumable,
        )

    def _take_record(self, record: InputRecord) -> None:
        key = record.key
        if not key:
            if record.topic == self.settings.intake_topic and is_reread(record):
                return
            self._refuse(record, Outcome.MALFORMED, "the record has no key; the key must be the saga id")
            return
        if len(key) + len(record.value or b"") > self.settings.record_bytes_max:
            self._refuse(record, Outcome.TOO_LARGE, f"more than {self.settings.record_bytes_max} bytes")
            return
        saga = self._load(key)
        settings = self.settings
        is_intake = record.topic == settings.intake_topic
        if saga is None and not is_intake:
            partition = home(key, settings.home_partitions)
            if partition != settings.partition:
                self._forward(record, partition)
                return
        if saga is not None and (saga.held or saga.hold):  # before anything is said about the record: order is kept
            saga = self._resume(key, saga, record.timestamp)
        try:
            received = _decode_input(record, key, is_intake=is_intake)
        except MalformedError as error:
            self._refuse(record, Outcome.MALFORMED, str(error))
            return
        decision = self._decide(key, saga, received)
        if decision.outcome in CHANGING:
            self._apply(key, saga, decision)
        elif decision.outcome is Outcome.DUPLICATE:
            self._note(record, decision.outcome, decision.reason, received)  # normal where delivery is at least once
        else:
            self._refuse(record, decision.outcome, decision.reason, received)

    def _resume(self, key: bytes, saga: Saga, at_ms: int) -> Saga:
        """Let a held saga go on, if it may: a new input must not overtake what it holds."""
        while self.can_resume(saga):
            self._take_internal(Resumed(SagaId(key.decode()), at_ms))
            saga = self.working[key]
        return saga

    def _take_internal(self, received: Input) -> None:
        key = received.saga_id.encode()
        saga = self._load(key)
        decision = self._decide(key, saga, received)
        if decision.outcome in CHANGING:
            self._apply(key, saga, decision)
            return
        self.outcomes[decision.outcome] += 1
        if saga is not None and decision.saga is not None and decision.saga is not saga:
            self._drop_held(key, saga, decision.saga, decision)

    def _load(self, key: bytes) -> Saga | None:
        saga = self.working.get(key)
        if saga is None:
            value = self.pending[key] if key in self.pending else self.stored.get(key)
            if value is not None:
                saga = decode_saga(value)
                self.working[key] = saga
                self.before[key] = saga
        return saga

    def _decide(self, key: bytes, saga: Saga | None, received: Input) -> Decision:
        decision = decide(self.machine, saga, received)
        for failure in decision.failures:
            state = decision.saga.current_state if decision.saga is not None else ""
            self.failed_hooks.append(FailedHook(received.saga_id[:_NAME_LENGTH_MAX], state, failure))
        if self.is_exact and decision.outcome in CHANGING and decision.saga is not None:
            size = len(key) + max(
                len(encode_saga(decision.saga)),
                *(len(encode_message(command.label, command.payload)) for command in decision.commands),
                0,
            )
            if size > self.settings.record_bytes_max:
                reason = f"it would make a record of {size} bytes; at most {self.settings.record_bytes_max} fit"
                if saga is not None and type(received) is Resumed:
                    if saga.hold is not None and saga.hold.command is not None:
                        return _hold_on(saga, reason, self.machine.revision, saga.hold.command)
                    saga = drop_oldest_held(saga)
                return Decision(Outcome.TOO_LARGE, saga, reason=reason)
        return decision

    def _apply(self, key: bytes, saga: Saga | None, decision: Decision) -> None:
        entered = decision.saga
        assert entered is not None
        if saga is None:
            self.before[key] = None
        self.working[key] = entered
        self.outcomes[decision.outcome] += 1
        if decision.outcome is Outcome.ADVANCED or decision.outcome is Outcome.CREATED:
            self.entered[(entered.current_state, entered.latest_event)] += 1
        for command in decision.commands:
            value = encode_message(command.label, command.payload)
            self.record_bytes = max(self.record_bytes, len(key) + len(value))
            for topic in self.settings.command_topics[command.channel]:
                partition = self.settings.partition if topic in self.settings.aligned_topics else None
                self.records.append(OutputRecord(topic, key, value, partition))

    def _forward(self, record: InputRecord, partition: int) -> None:
        headers = ((ORIGIN_HEADER, format_origin(record).encode()),)
        self.records.append(
            OutputRecord(self.settings.intake_topic, record.key, record.value, partition, headers, record.timestamp)
        )
        self.forwarded += 1

    def _refuse(self, record: InputRecord, outcome: Outcome, reason: str, received: Input | None = None) -> None:
        self._note(record, outcome, reason, received)
        self._keep(record, outcome, reason)

    def _keep(self, record: InputRecord, outcome: Outcome, reason: str) -> None:
        settings = self.settings
        self.records.append(
            encode_unmatched(
                record,
                outcome,
                reason,
                topic=settings.unmatched_topic,
                partition=settings.partition,
                record_bytes_max=settings.record_bytes_max,
            )
        )

    def _drop_held(self, key: bytes, saga: Saga, freed: Saga, decision: Decision) -> None:
        """A held event turned out to change nothing: it leaves the saga and is kept like any other such input."""
        event = saga.held[0]
        self.working[key] = freed
        record = StoredRecord(
            topic=self.settings.sagas_topic,
            partition=self.settings.partition,
            offset=saga.seq,
            timestamp=event.received_at_ms,
            key=key,
            value=encode_message(event.label, event.payload),
        )
        self._keep(record, decision.outcome, f"held before: {decision.reason}")
        self._note_unmatched(record, decision.outcome, decision.reason, event.label)

    def _note(self, record: InputRecord, outcome: Outcome, reason: str, received: Input | None) -> None:
        label = received.label if type(received) is EventReceived else ""
        self.outcomes[outcome] += 1
        self._note_unmatched(record, outcome, reason, label)

    def _note_unmatched(self, record: InputRecord, outcome: Outcome, reason: str, label: str) -> None:
        saga_id = (record.key or b"")[:_NAME_LENGTH_MAX].decode("utf-8", "replace")
        reason, label = reason[:_REASON_LENGTH_MAX], label[:_NAME_LENGTH_MAX]
        self.unmatched.append(Unmatched(outcome, reason, format_origin(record), saga_id, label))

    def _expire(self, now_ms: int) -> None:
        before_ms = now_ms - self.settings.retention_finished_ms
        self.expired_count, expired = self.stored.expired(before_ms, EXPIRED_PER_BATCH_MAX, skip=self.pending_expired)
        for key in expired:
            if key not in self.changed and key not in self.pending:
                self.changed[key] = None
                self.records.append(OutputRecord(self.settings.sagas_topic, key, None, self.settings.partition))


def _is_held(saga: Saga) -> bool:
    return bool(saga.held or saga.hold)


def _hold_on(saga: Saga, reason: str, revision: str, command: str) -> Decision:
    """The command of a held saga has been made, and is too large to be sent."""
    hold = Hold(reason, revision, command)
    return Decision(Outcome.HELD, msgspec.structs.replace(saga, seq=saga.seq + 1, hold=hold), reason=reason)


def _decode_input(record: InputRecord, key: bytes, *, is_intake: bool) -> Input:
    try:
        saga_id = SagaId(key.decode())
    except UnicodeDecodeError:
        raise MalformedError("the key is not UTF-8; the key must be the saga id") from None
    if is_intake and (INPUT_HEADER, CREATE) in record.headers:
        creation = decode_creation(record.value)
        return Create(saga_id, creation.associated_entity_id, creation.metadata, record.timestamp)
    message = decode_message(record.value)
    return EventReceived(saga_id, message.message_label, message.message_payload, record.timestamp)
