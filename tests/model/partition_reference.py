"""What the partition model consists of: a log that keeps its promises, hosts, a reference that sees records once."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from flowmachine.core.actions import CHANGING, Decision, Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine, SagaId, StateId
from flowmachine.core.inputs import Create, EventReceived, Input, Resumed
from flowmachine.core.partitioners import home
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.errors import FencedError
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.intake import CREATE_HEADERS, decode_creation
from flowmachine.wire.log import OutputRecord, StoredRecord
from flowmachine.wire.message import MalformedError, decode_message, encode_message
from tests.support.builders import (
    COMMAND_TOPICS,
    DONE,
    INTAKE,
    SAGAS,
    command,
    machine,
    state,
    transition,
    without_state,
    written_by,
)
from tests.support.strategies import refuse_bad

HOME_PARTITIONS = 2

EVENT_PARTITIONS = 3

RETENTION_MS = 60_000

SAGA_IDS = ("a", "b", "saga-ü")

COMMANDS = ("commands", "audit-a", "audit-b")

TopicPartition = tuple[str, int]

WHOLE = machine(
    state(
        "looping",
        transition("step", "looping", check=refuse_bad),
        transition("go", "waiting"),
        transition("stop", "ended"),
        sends=command("work"),
        side_commands=[command("tell", "twofold"), command("notify", "rest")],
    ),
    state("waiting", transition("step", "looping"), transition("stop", "ended"), sends=command("ask", "rest")),
    state("ended", transition("again", "looping"), sends=command("close"), is_final=True, business_state=DONE),
)

FEWER = without_state(WHOLE, "waiting")


class FakeLog:
    """Topics as lists. A transaction is one call, so it is atomic; an epoch per home partition fences."""

    def __init__(self) -> None:
        self.topics: dict[TopicPartition, list[StoredRecord]] = defaultdict(list)
        self.committed: Counter[TopicPartition] = Counter()
        self.epochs: Counter[int] = Counter()

    def append(self, written: OutputRecord, at_ms: int) -> None:
        partition = 0 if written.partition is None else written.partition
        records = self.topics[written.topic, partition]
        at_ms = at_ms if written.timestamp is None else written.timestamp
        records.append(
            StoredRecord(written.topic, partition, len(records), at_ms, written.key, written.value, written.headers)
        )

    def open(self, partition: int) -> int:
        self.epochs[partition] += 1
        return self.epochs[partition]

    def commit(self, partition: int, epoch: int, plan: BatchPlan, at_ms: int) -> None:
        if epoch != self.epochs[partition]:
            raise FencedError("another host has opened the partition")
        for written in written_by(plan, partition):
            self.append(written, at_ms)
        for place, next_offset in plan.next_offsets.items():
            assert next_offset > self.committed[place], "an offset never goes back"
            self.committed[place] = next_offset

    def changelog(self, partition: int, from_offset: int, *, is_compacted: bool) -> list[StoredRecord]:
        records = self.topics[SAGAS, partition]
        latest = {record.key: record.offset for record in records}
        return [each for each in records[from_offset:] if not is_compacted or latest[each.key] == each.offset]


@dataclass
class OpenPartition:
    """A partition on a host: what a partition task has."""

    partition: Partition
    epoch: int
    positions: dict[TopicPartition, int]
    internal: list[Input]
    restored_to: int
    """What it has written since then is read again when it opens the partition anew."""
    batch: tuple[list[StoredRecord], list[Input], BatchPlan] | None = None


@dataclass
class Host:
    """An engine: its open partitions, and the memory of those that it had to give up."""

    opened: dict[int, OpenPartition] = field(default_factory=dict)
    kept: dict[int, tuple[Partition, int]] = field(default_factory=dict)


class Reference:
    """What must be in the log."""

    def __init__(self) -> None:
        self.sagas: dict[bytes, Saga] = {}
        self.commands: dict[bytes, list[tuple[str, bytes]]] = defaultdict(list)
        self.unmatched: dict[int, list[tuple[str, str]]] = defaultdict(list)
        self.forwarded: list[tuple[str, bytes | None, bytes | None, int]] = []
        self.next_offsets: Counter[TopicPartition] = Counter()

    def take_record(self, whole: Machine, partition: int, record: StoredRecord) -> None:
        place = (record.topic, record.partition)
        assert record.offset == self.next_offsets[place], "each record once, in order"
        self.next_offsets[place] += 1
        origin = f"{record.topic}/{record.partition}/{record.offset}"
        key = record.key
        if not key:
            self.unmatched[partition].append(("malformed", origin))
        elif record.topic != INTAKE and home(key, HOME_PARTITIONS) != partition:
            self.forwarded.append((origin, key, record.value, record.timestamp))
        else:
            is_at_home = home(key, HOME_PARTITIONS) == partition  # somebody may write to any partition of the intake
            # Before anything is said about the record, a malformed one too.
            while is_at_home and self.can_resume(whole, key):
                self.take_internal(whole, partition, Resumed(SagaId(key.decode()), record.timestamp))
            try:
                received = self.read(record, key)
            except MalformedError:
                self.unmatched[partition].append(("malformed", origin))
                return
            outcome = self.decide(whole, key, received).outcome
            if outcome not in CHANGING and outcome is not Outcome.DUPLICATE:
                self.unmatched[partition].append((outcome.value, origin))

    @staticmethod
    def read(record: StoredRecord, key: bytes) -> Input:
        if record.topic == INTAKE and record.headers == CREATE_HEADERS:
            creation = decode_creation(record.value)
            return Create(SagaId(key.decode()), creation.associated_entity_id, creation.metadata, record.timestamp)
        message = decode_message(record.value)
        return EventReceived(SagaId(key.decode()), message.message_label, message.message_payload, record.timestamp)

    def can_resume(self, whole: Machine, key: bytes) -> bool:
        saga = self.sagas.get(key)
        return saga is not None and bool(saga.held) and StateId(saga.current_state) in whole.states

    def take_internal(self, whole: Machine, partition: int, received: Input) -> None:
        key = received.saga_id.encode()
        before = self.sagas.get(key)
        decision = self.decide(whole, key, received)
        if before is not None and decision.saga is not None and decision.outcome not in CHANGING:
            if decision.saga is not before:
                self.unmatched[partition].append((decision.outcome.value, f"{SAGAS}/{partition}/{before.seq}"))
            self.sagas[key] = decision.saga

    def decide(self, whole: Machine, key: bytes, received: Input) -> Decision:
        decision = decide(whole, self.sagas.get(key), received)
        if decision.outcome in CHANGING:
            assert decision.saga is not None
            self.sagas[key] = decision.saga
            for sent in decision.commands:
                value = encode_message(sent.label, decision.payload_of(sent))
                self.commands[key] += [(topic, value) for topic in COMMAND_TOPICS[sent.channel]]
        return decision

    def expire(self, key: bytes, now_ms: int) -> None:
        saga = self.sagas.pop(key)
        assert saga.is_final
        assert not saga.outbox, "a command over HTTP stays in the record until it is answered"
        assert not saga.held, "a held event is an input: it is never lost"
        assert parse_timestamp(saga.updated_at) < now_ms - RETENTION_MS
