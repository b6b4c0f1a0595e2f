"""What the log says about each input of a saga.

| status    | evidence                                                                             |
|-----------|--------------------------------------------------------------------------------------|
| pending   | at or behind the committed offset: it must not have had an effect                    |
| refused   | the unmatched topic has it, with its outcome                                         |
| forwarded | the intake has a copy that names it as its origin                                    |
| silent    | nothing: it was applied, or it was a duplicate                                       |
| unknown   | nothing, but what the unmatched topic held of that time is gone                      |
| stranded  | nothing, although it is not in a partition of its saga's home: it must be forwarded  |
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flowmachine.audit.model import Finding, Kind, SagaRecords, Scope, TopicPartition, found, place_of
from flowmachine.core.definition import SagaId
from flowmachine.core.inputs import Create, EventReceived
from flowmachine.core.partitioners import home
from flowmachine.wire.intake import CREATE, INPUT_HEADER, ORIGIN_HEADER, decode_creation
from flowmachine.wire.log import InputRecord
from flowmachine.wire.message import MalformedError, decode_message
from flowmachine.wire.unmatched import format_origin

OUTCOME_HEADER = "flowmachine-outcome"


class Status(StrEnum):
    """As the table above."""

    PENDING = "pending"
    REFUSED = "refused"
    FORWARDED = "forwarded"
    SILENT = "silent"
    UNKNOWN = "unknown"
    STRANDED = "stranded"


@dataclass(frozen=True, slots=True)
class Step:
    """An input with its evidence. `received` None: it cannot be decoded."""

    record: InputRecord
    status: Status
    received: Create | EventReceived | None
    outcome: str = ""
    """Of a refused input."""

    @property
    def is_creation(self) -> bool:
        """Whether it asks for a new saga."""
        return isinstance(self.received, Create)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The inputs of a saga. `streams`: those that its home has read, per partition; `findings`: of the log alone."""

    streams: tuple[tuple[Step, ...], ...]
    pending: tuple[Step, ...]
    stranded: tuple[Step, ...]
    findings: tuple[Finding, ...]
    is_moving: bool
    was_held: bool

    @property
    def steps(self) -> list[Step]:
        """All inputs of the streams."""
        return [step for stream in self.streams for step in stream]


def gather(scope: Scope, saga: SagaRecords) -> Evidence:
    """The evidence about every input of a saga."""
    refusals: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for kept in saga.unmatched:
        origin = _header(kept, ORIGIN_HEADER)
        refusals[origin] = _header(kept, OUTCOME_HEADER)
        counts[origin] += 1
    copies: dict[str, list[InputRecord]] = {}
    for record in saga.inputs:
        if record.topic == scope.intake and (origin := _header(record, ORIGIN_HEADER)):
            copies.setdefault(origin, []).append(record)
    steps = [_step(scope, saga.key, record, refusals, copies) for record in saga.inputs]
    streams: dict[TopicPartition, list[Step]] = {}
    for step in steps:
        if step.status in (Status.SILENT, Status.REFUSED, Status.UNKNOWN):
            streams.setdefault(place_of(step.record), []).append(step)
    return Evidence(
        streams=tuple(tuple(stream) for stream in streams.values()),
        pending=tuple(step for step in steps if step.status is Status.PENDING),
        stranded=tuple(step for step in steps if step.status is Status.STRANDED),
        findings=tuple(_repeated(saga, steps, counts, copies)),
        is_moving=any(
            scope.committed.get(place_of(r), 0) <= r.offset < scope.committed_after.get(place_of(r), 0)
            for r in saga.inputs
        ),
        was_held=any(origin.startswith(f"{scope.sagas}/") for origin in refusals)
        or "held_too_many" in refusals.values(),
    )


def _step(
    scope: Scope,
    key: bytes,
    record: InputRecord,
    refusals: dict[str, str],
    copies: dict[str, list[InputRecord]],
) -> Step:
    place, origin = place_of(record), format_origin(record)
    received = _decode(record, is_intake=record.topic == scope.intake)
    if record.offset >= scope.committed.get(place, 0):
        return Step(record, Status.PENDING, received)
    if origin in refusals:
        return Step(record, Status.REFUSED, received, refusals[origin])
    if origin in copies:
        return Step(record, Status.FORWARDED, received)
    at_home = not key or record.partition % scope.home_partitions == home(key, scope.home_partitions)
    if record.topic != scope.intake and not at_home:
        return Step(record, Status.STRANDED, received)
    keeper = (scope.unmatched, record.partition % scope.home_partitions)
    status = Status.SILENT if scope.is_retained(keeper, record.timestamp) else Status.UNKNOWN
    return Step(record, status, received)


def _repeated(
    saga: SagaRecords, steps: Sequence[Step], counts: Counter[str], copies: dict[str, list[InputRecord]]
) -> list[Finding]:
    """Inputs that were handled twice, as the log itself shows; and copies that are none."""
    findings: list[Finding] = []
    for step in steps:
        record, origin = step.record, format_origin(step.record)
        made = copies.get(origin, ())
        if counts[origin] + len(made) > 1:
            message = (
                f"it was handled {counts[origin] + len(made)} times: refused {counts[origin]}, forwarded {len(made)}"
            )
            findings.append(found(Kind.INPUT_APPLIED_TWICE, saga, record, message))
        findings += [
            found(Kind.FORWARD_DIFFERS, saga, copy, f"it is not a copy of {origin}, which it names as its origin")
            for copy in made
            if (copy.value or b"") != (record.value or b"")
        ]
    return findings


def _decode(record: InputRecord, *, is_intake: bool) -> Create | EventReceived | None:
    """As the engine decodes it, written a second time on purpose: an auditor does not trust the books' own reader."""
    if not record.key:
        return None
    try:
        saga_id = SagaId(record.key.decode())
        if is_intake and (INPUT_HEADER, CREATE) in tuple(record.headers):
            creation = decode_creation(record.value)
            return Create(saga_id, creation.associated_entity_id, creation.metadata, record.timestamp)
        message = decode_message(record.value)
    except (MalformedError, UnicodeDecodeError):
        return None
    return EventReceived(saga_id, message.message_label, message.message_payload, record.timestamp)


def _header(record: InputRecord, name: str) -> str:
    return next((value.decode("utf-8", "replace") for header, value in record.headers if header == name), "")
