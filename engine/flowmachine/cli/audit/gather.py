"""A machine's topics -> the scope of an audit, and every record put aside by saga.

The order matters while an engine is at work: 1. the group's offsets; 2. what engines write (commands, unmatched,
sagas); 3. the inputs and the intake; 4. the offsets again. What had an effect that 2 shows then stands in 3, and a saga
with an input between the offsets of 1 and 4 was moving meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from flowmachine.audit.model import NEVER_MS, Scope, TopicPartition
from flowmachine.cli.audit.spill import Role, Spill
from flowmachine.cli.log_reader import LogReader
from flowmachine.cli.progress import Advance
from flowmachine.core.definition import Machine
from flowmachine.core.partitioners import java_murmur2
from flowmachine.core.saga import ADOPTED, IMPORTED
from flowmachine.wire.intake import is_reread
from flowmachine.wire.journal import JOURNAL_KEY, decode_journal, is_control
from flowmachine.wire.log import InputRecord, OutputRecord, StoredRecord

HEAD_RECORDS = 16
"""The first records of a partition that has lost older ones; the latest of their times says since when it is whole."""


@dataclass(frozen=True, slots=True)
class MachineTopics:
    """The names of all that a machine reads and writes, and what its file says about them."""

    intake: str
    sagas: str
    unmatched: str
    inputs: tuple[str, ...]
    command_topics: Mapping[str, tuple[str, ...]]
    """Channel id -> the topics of its commands."""
    retention_finished_ms: int
    may_share_inputs: bool

    @property
    def outputs(self) -> tuple[str, ...]:
        """The topics of the commands."""
        return tuple(dict.fromkeys(topic for topics in self.command_topics.values() for topic in topics))

    @property
    def parts(self) -> list[tuple[Role, str]]:
        """The topics in the order in which they are read."""
        commands = [(Role.COMMAND, topic) for topic in self.outputs]
        written = [(Role.UNMATCHED, self.unmatched), (Role.CHANGELOG, self.sagas)]
        return [*commands, *written, *((Role.INPUT, topic) for topic in self.inputs), (Role.INPUT, self.intake)]


class _Head(msgspec.Struct):
    revision: str
    earlier_revisions: tuple[str, ...] = msgspec.field(name="earlierRevisions", default=())


_decode_head = msgspec.json.Decoder(_Head).decode


async def gather(
    log: LogReader, machine: Machine, topics: MachineTopics, spill: Spill, *, now_ms: int, advance: Advance
) -> Scope:
    """Read everything once. Raises ConfigurationError, TransientError."""
    counts = await log.partition_counts([topic for _, topic in topics.parts])
    sources = [(topic, partition) for topic in (*topics.inputs, topics.intake) for partition in range(counts[topic])]
    committed, unsent = await _positions(log, topics.sagas, counts, sources)
    spill.add(Role.COMMAND, unsent)
    bounds = {
        (topic, partition): await log.bounds(topic, partition)
        for _, topic in topics.parts
        for partition in range(counts[topic])
    }
    total = sum(end - start for start, end in bounds.values())
    retained: dict[TopicPartition, int] = {}
    has_other_revisions = False
    progress = 0
    for role, topic in topics.parts:
        for partition in range(counts[topic]):
            # Anew: what was written since has effects that the audit must see, or must see the cause of.
            start, end = await log.bounds(topic, partition)
            head_ms: list[int] = []
            async for records in log.read(topic, partition, start, end):
                is_changelog = role is Role.CHANGELOG
                spill.add(role, [r for r in records if not (is_control(r.key) if is_changelog else is_reread(r))])
                head_ms += [record.timestamp for record in records[: max(0, HEAD_RECORDS - len(head_ms))]]
                if is_changelog:
                    has_other_revisions = has_other_revisions or _has_others(records, machine.revision)
                advance(progress + records[-1].offset + 1 - start, total)
            progress += end - start
            advance(progress, total)
            if start > 0 and role is not Role.CHANGELOG:
                retained[topic, partition] = max(head_ms, default=NEVER_MS)
    committed_after, _ = await _positions(log, topics.sagas, counts, sources)
    return Scope(
        machine=machine,
        home_partitions=counts[topics.sagas],
        intake=topics.intake,
        sagas=topics.sagas,
        unmatched=topics.unmatched,
        input_partitions={topic: counts[topic] for topic in topics.inputs},
        command_topics=topics.command_topics,
        retention_finished_ms=topics.retention_finished_ms,
        now_ms=now_ms,
        committed=committed,
        committed_after=committed_after,
        retained_from_ms=retained,
        has_other_revisions=has_other_revisions,
        may_share_inputs=topics.may_share_inputs,
    )


async def _positions(
    log: LogReader, sagas: str, counts: Mapping[str, int], sources: Sequence[TopicPartition]
) -> tuple[dict[TopicPartition, int], list[StoredRecord]]:
    """How far the inputs have been handled, and commands that may still have to be sent.

    That is the group's offsets and, where batches go without transactions, what the latest journal says beyond them:
    the next engine sends its commands before anything else, so they count as sent.
    """
    homes = [(sagas, partition) for partition in range(counts[sagas])]
    offsets = dict(await log.committed([*sources, *homes]))
    unsent: list[StoredRecord] = []
    for topic, partition in homes:
        start = offsets.pop((topic, partition), None)
        if start is None:
            continue
        latest = None
        _, end = await log.bounds(topic, partition)
        async for records in log.read(topic, partition, start, end):
            latest = next((record for record in reversed(records) if record.key == JOURNAL_KEY), latest)
        if latest is not None:
            journal = decode_journal(latest.value)
            offsets |= {(name, number): offset for name, number, offset in journal.next_offsets}
            unsent += [_as_sent(command, counts, latest.timestamp) for command in journal.commands]
    return offsets, unsent


def _as_sent(command: OutputRecord, counts: Mapping[str, int], timestamp: int) -> StoredRecord:
    partition = command.partition
    if partition is None:
        partition = java_murmur2(command.key or b"", counts[command.topic])
    return StoredRecord(command.topic, partition, NEVER_MS, timestamp, command.key, command.value, command.headers)


def _has_others(records: Sequence[InputRecord], revision: str) -> bool:
    """Whether another revision has moved one of these sagas."""
    for record in records:
        if record.value and not is_control(record.key):
            try:
                head = _decode_head(record.value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # the saga's own verdict says that its record cannot be read
            if {head.revision, *head.earlier_revisions} - {revision, IMPORTED, ADOPTED}:
                return True
    return False
