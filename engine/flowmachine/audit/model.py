"""The values of an audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from flowmachine.core.definition import Machine
from flowmachine.wire.log import InputRecord
from flowmachine.wire.unmatched import format_origin

TopicPartition = tuple[str, int]

NEVER_MS = 2**63 - 1
"""Later than any record."""


class Kind(StrEnum):
    """What is wrong; the values are documentation anchors (`docs/audit.md`)."""

    INPUT_LOST = "input-lost"
    INPUT_APPLIED_TWICE = "input-applied-twice"
    INPUT_OUT_OF_ORDER = "input-out-of-order"
    INPUT_NOT_COMMITTED = "input-not-committed"
    INPUT_REFUSED_WRONGLY = "input-refused-wrongly"
    INPUT_UNKNOWN = "input-unknown"
    FORWARD_DIFFERS = "forward-differs"
    COMMAND_MISSING = "command-missing"
    COMMAND_DOUBLED = "command-doubled"
    COMMAND_DIFFERS = "command-differs"
    COMMAND_UNEXPECTED = "command-unexpected"
    COMMAND_OUT_OF_ORDER = "command-out-of-order"
    RECORD_DIFFERS = "record-differs"
    RECORD_MISSING = "record-missing"
    RECORD_UNREADABLE = "record-unreadable"


class Reason(StrEnum):
    """Why a saga is not verifiable."""

    RETENTION = "retention"
    FORGOTTEN = "forgotten"
    REVISION = "revision"
    ELSEWHERE = "elsewhere"
    HOOK = "hook"
    MOVING = "moving"
    FOREIGN = "foreign"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that cannot be as it is. `where` is `topic/partition/offset`, empty if no record is to blame."""

    kind: Kind
    saga_id: str
    where: str
    message: str
    doubt: Reason | None = None
    """Why it may have a harmless reason after all; no verdict has such a finding."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one saga's audit. `unverified` None and no findings: all is as it must be."""

    saga_id: str
    findings: tuple[Finding, ...] = ()
    unverified: Reason | None = None
    detail: str = ""
    is_saga: bool = True
    """False: records whose key is no saga, such as those without any key."""
    commands: int = 0


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for all sagas of an audit.

    `committed` and `committed_after`: the group's offsets before and after the topics were read; without an entry
    nothing has been committed. `retained_from_ms`: for partitions that no longer hold their first records, a time
    after which nothing is gone; absent partitions are whole.
    """

    machine: Machine
    home_partitions: int
    intake: str
    sagas: str
    unmatched: str
    input_partitions: Mapping[str, int]
    command_topics: Mapping[str, tuple[str, ...]]
    retention_finished_ms: int
    now_ms: int
    committed: Mapping[TopicPartition, int]
    committed_after: Mapping[TopicPartition, int]
    retained_from_ms: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])
    has_other_revisions: bool = False
    """The record of some saga says that another revision has moved it."""
    may_share_inputs: bool = False
    """The group or its topics were somebody else's before: events of sagas that nothing else tells of are theirs."""

    def sources(self, home_partition: int) -> list[TopicPartition]:
        """The input partitions that a home partition reads."""
        read = [
            (topic, partition)
            for topic, count in self.input_partitions.items()
            for partition in range(home_partition, count, self.home_partitions)
        ]
        return [(self.intake, home_partition), *read]

    def is_retained(self, place: TopicPartition, at_ms: int) -> bool:
        """Whether whatever came to a partition at that time or later is still there."""
        from_ms = self.retained_from_ms.get(place)
        return from_ms is None or from_ms < at_ms <= self.now_ms


@dataclass(frozen=True, slots=True)
class SagaRecords:
    """All records of one key, each list in the order of topic, partition and offset."""

    key: bytes
    changelog: Sequence[InputRecord] = ()
    inputs: Sequence[InputRecord] = ()
    unmatched: Sequence[InputRecord] = ()
    commands: Sequence[InputRecord] = ()

    @property
    def saga_id(self) -> str:
        """The key, for people."""
        return self.key[:200].decode("utf-8", "replace")


def place_of(record: InputRecord) -> TopicPartition:
    """Topic and partition."""
    return record.topic, record.partition


def found(
    kind: Kind, saga: SagaRecords, record: InputRecord | None, message: str, doubt: Reason | None = None
) -> Finding:
    """A finding about a record, or about the saga as a whole."""
    return Finding(kind, saga.saga_id, format_origin(record) if record is not None else "", message, doubt)
