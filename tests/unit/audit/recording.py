"""A machine's topics, made by the real `Partition.plan`, for tests that audit them; and ways to tamper with them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from flowmachine.audit.judge import judge
from flowmachine.audit.model import Finding, SagaRecords, Scope, Verdict
from flowmachine.core.definition import HookError, Machine, Payload, PayloadBuilder, SagaId
from flowmachine.core.inputs import Input
from flowmachine.core.partitioners import home, java_murmur2
from flowmachine.core.saga import Saga
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.log import OutputRecord, StoredRecord
from flowmachine.wire.unmatched import format_origin
from tests.support.builders import (
    COMMAND_TOPICS,
    EVENTS,
    INTAKE,
    NOW_MS,
    SAGAS,
    UNMATCHED,
    command,
    create_record,
    event_record,
    machine,
    new_partition,
    order_machine,
    state,
    written_by,
)

COMMAND_PARTITIONS = 2
RETENTION_MS = 60_000
TopicPartition = tuple[str, int]
Change = Callable[[StoredRecord], StoredRecord | None]


class Recording:
    """Topics as lists, and the partitions of one engine."""

    def __init__(self, whole: Machine | None = None, *, homes: int = 1, event_partitions: int = 1) -> None:
        self.machine = whole or order_machine()
        self.homes = homes
        self.event_partitions = event_partitions
        self.topics: dict[TopicPartition, list[StoredRecord]] = defaultdict(list)
        self.committed: dict[TopicPartition, int] = {}
        self.partitions = [
            new_partition(self.machine, partition=number, home_partitions=homes, retention_finished_ms=RETENTION_MS)
            for number in range(homes)
        ]
        self.overrides: dict[str, Any] = {}

    def deploy(self, whole: Machine) -> None:
        """Another revision of the machine goes on with the same sagas."""
        self.machine = whole
        for partition in self.partitions:
            partition.machine = whole

    # --- running ------------------------------------------------------------------------------------------------------

    def put(self, record: StoredRecord) -> StoredRecord:
        """Append a record; it gets the offset of its place."""
        records = self.topics[record.topic, record.partition]
        stored = msgspec.structs.replace(record, offset=records[-1].offset + 1 if records else 0)
        records.append(stored)
        return stored

    def create(self, metadata: dict[str, Any] | None = None, **where: Any) -> StoredRecord:
        key = where.get("key", b"order-1")
        return self.put(create_record(metadata, **{"partition": home(key, self.homes), **where}))

    def event(self, label: str, payload: dict[str, Any] | None = None, **where: Any) -> StoredRecord:
        key = where.get("key", b"order-1")
        partition = where.pop("partition", java_murmur2(key, self.event_partitions) if key else 0)
        return self.put(event_record(label, payload, partition=partition, **where))

    def run(self, *, records_max: int = 3, now_ms: int = NOW_MS, internal: Sequence[Input] = ()) -> None:
        """Let every partition read all that there is, in batches, until nothing is left."""
        is_busy = True
        while is_busy:
            is_busy = False
            for partition in self.partitions:
                for records in self._batches(partition, records_max):
                    is_busy = True
                    self.commit(partition, partition.plan(records, internal, now_ms))
                    internal = ()
        if internal:
            self.commit(self.partitions[0], self.partitions[0].plan([], internal, now_ms))

    def _batches(self, partition: Partition, records_max: int) -> Iterable[list[StoredRecord]]:
        for place in self.sources(partition.settings.partition):
            unread = [record for record in self.topics[place] if record.offset >= self.committed.get(place, 0)]
            for start in range(0, len(unread), records_max):
                yield unread[start : start + records_max]

    def commit(self, partition: Partition, plan: BatchPlan) -> None:
        for written in written_by(plan, partition.settings.partition):
            self.write(written)
        self.committed |= plan.next_offsets
        partition.confirm(plan)

    def write(self, written: OutputRecord) -> None:
        partition = written.partition
        if partition is None:
            partition = java_murmur2(written.key or b"", COMMAND_PARTITIONS)
        at_ms = NOW_MS if written.timestamp is None else written.timestamp
        self.put(StoredRecord(written.topic, partition, 0, at_ms, written.key, written.value, tuple(written.headers)))

    def apply(self, *records: StoredRecord, keeps_commands: bool = True) -> None:
        """Have an engine apply records as they come, whatever the offsets say: what must never happen."""
        partition = self.partitions[0]
        plan = partition.plan(list(records), [], NOW_MS)
        for written in written_by(plan, partition.settings.partition):
            if keeps_commands or written.topic == SAGAS:
                self.write(written)
        partition.confirm(plan)

    def skip(self, topic: str = EVENTS, partition: int = 0) -> None:
        """Commit past what was not read."""
        self.committed[topic, partition] = self.topics[topic, partition][-1].offset + 1

    # --- tampering ----------------------------------------------------------------------------------------------------

    def change(self, topic: str, index: int, change: Change) -> StoredRecord:
        """Change a topic's record, or take it away (None)."""
        place, record = [(p, r) for p, records in sorted(self.topics.items()) if p[0] == topic for r in records][index]
        changed = change(record)
        records = self.topics[place]
        position = records.index(record)
        records[position : position + 1] = [] if changed is None else [changed]
        return record

    def remove(self, topic: str, index: int) -> StoredRecord:
        return self.change(topic, index, lambda _: None)

    # --- auditing -----------------------------------------------------------------------------------------------------

    def sources(self, number: int) -> list[TopicPartition]:
        return [(INTAKE, number), *((EVENTS, each) for each in range(number, self.event_partitions, self.homes))]

    def scope(self) -> Scope:
        defaults: dict[str, Any] = {
            "machine": self.machine,
            "home_partitions": self.homes,
            "intake": INTAKE,
            "sagas": SAGAS,
            "unmatched": UNMATCHED,
            "input_partitions": {EVENTS: self.event_partitions},
            "command_topics": COMMAND_TOPICS,
            "retention_finished_ms": RETENTION_MS,
            "now_ms": NOW_MS + 10_000,
            "committed": self.committed,
            "committed_after": self.committed,
        }
        return Scope(**(defaults | self.overrides))

    def groups(self) -> list[SagaRecords]:
        roles = {SAGAS: "changelog", UNMATCHED: "unmatched", INTAKE: "inputs", EVENTS: "inputs"}
        lists: dict[bytes, dict[str, list[StoredRecord]]] = defaultdict(lambda: defaultdict(list))
        for place in sorted(self.topics):
            for record in self.topics[place]:
                role = roles.get(record.topic, "commands")
                lists[_owner(role, record)][role].append(record)
        return [SagaRecords(b"" if owner.startswith(b"\0") else owner, **records) for owner, records in lists.items()]

    def verdicts(self) -> list[Verdict]:
        return [judge(self.scope(), group) for group in self.groups()]

    def findings(self) -> list[Finding]:
        return [finding for verdict in self.verdicts() for finding in verdict.findings]

    def found(self) -> list[tuple[str, str]]:
        """Kind and place of every finding."""
        return [(finding.kind.value, finding.where) for finding in self.findings()]

    def reasons(self) -> list[str]:
        return [verdict.unverified.value for verdict in self.verdicts() if verdict.unverified]


def side_hook_recording(channel: str) -> Recording:
    """A saga whose command was sent, and whose side command was left out: its hook failed once, and works now."""
    tell = msgspec.structs.replace(command("tell", channel), build=hook_that_fails(times=1))
    recording = Recording(machine(state("one", sends=command("work"), side_commands=[tell])))
    recording.create()
    recording.run()
    return recording


def hook_that_fails(*, times: int) -> PayloadBuilder:
    """It works afterwards."""
    failures = [HookError("out of time")] * times

    def build(saga_id: SagaId, saga: Saga) -> Payload:
        if failures:
            raise failures.pop()
        return {"saga": saga_id, "state": saga.current_state}

    return build


def _owner(role: str, record: StoredRecord) -> bytes:
    if record.key:
        return record.key
    if role == "unmatched":
        return b"\0" + dict(record.headers)["flowmachine-origin"]
    return b"\0" + format_origin(record).encode()


def at(record: StoredRecord) -> str:
    return format_origin(record)


def with_value(value: bytes) -> Change:
    return lambda record: msgspec.structs.replace(record, value=value)


def with_json(**fields: Any) -> Change:
    """Replace fields of a JSON value."""
    return lambda record: msgspec.structs.replace(
        record, value=msgspec.json.encode({**msgspec.json.decode(record.value or b"{}"), **fields})
    )
