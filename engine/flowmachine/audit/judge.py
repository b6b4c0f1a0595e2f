"""One saga's verdict."""

from collections.abc import Sequence

import msgspec

from flowmachine.audit.compare import compare_record, judge_commands
from flowmachine.audit.diagnose import diagnose
from flowmachine.audit.evidence import Evidence, Status, Step, gather
from flowmachine.audit.model import Finding, Kind, Reason, SagaRecords, Scope, Verdict, found
from flowmachine.audit.replay import Applied, history_entries, is_refused, replay
from flowmachine.audit.unrecorded import before_oblivion, may_be_forgotten
from flowmachine.core.definition import StateId
from flowmachine.core.partitioners import home
from flowmachine.core.saga import ADOPTED, IMPORTED, Saga, is_awaited
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.errors import InvariantError
from flowmachine.wire.log import InputRecord
from flowmachine.wire.record import decode_saga

LONG_KEY_BYTES = 64 * 1024
"""Of longer keys the unmatched topic keeps the beginning only, so an input is not found there again."""


def judge(scope: Scope, saga: SagaRecords) -> Verdict:
    """What is to say about all records of one key."""
    if not saga.inputs and not saga.changelog:
        return Verdict(saga.saga_id, is_saga=False)  # commands of another machine, or kept inputs that are gone
    if len(saga.key) >= LONG_KEY_BYTES:
        return _unverified(saga, Reason.FOREIGN, "the key is too long to be found among the unmatched inputs")
    evidence = gather(scope, saga)
    if evidence.is_moving:
        return _unverified(saga, Reason.MOVING, "it moved while its topics were read")
    partition = home(saga.key, scope.home_partitions)
    if saga.key and any(r.partition != partition for r in saga.inputs if r.topic == scope.intake):
        return _unverified(
            saga, Reason.FOREIGN, "somebody has written to the intake of a partition that is not its home"
        )
    stranded = _judge_stranded(scope, saga, evidence, partition)
    latest = next((record for record in reversed(saga.changelog) if record.value), None)
    if latest is None:
        verdict = _judge_unrecorded(scope, saga, evidence)
    else:
        verdict = _judge_recorded(scope, saga, evidence, latest)
    found_all = (*evidence.findings, *stranded, *verdict.findings)
    return Verdict(
        verdict.saga_id,
        found_all,
        None if found_all else verdict.unverified,
        "" if found_all else verdict.detail,
        is_saga=verdict.is_saga,
        commands=len(saga.commands),
    )


def _unverified(saga: SagaRecords, reason: Reason, detail: str, *, is_saga: bool = True) -> Verdict:
    return Verdict(saga.saga_id, (), reason, detail, is_saga=is_saga)


def _judge_stranded(scope: Scope, saga: SagaRecords, evidence: Evidence, partition: int) -> list[Finding]:
    message = "it is not in a partition of its saga's home, and was neither forwarded nor refused"
    return [
        found(Kind.INPUT_LOST, saga, step.record, message)
        for step in evidence.stranded
        if scope.is_retained((scope.intake, partition), step.record.timestamp)
        and scope.is_retained((scope.unmatched, step.record.partition % scope.home_partitions), step.record.timestamp)
    ]


# --- sagas that have no record ----------------------------------------------------------------------------------------


def _judge_unrecorded(scope: Scope, saga: SagaRecords, evidence: Evidence) -> Verdict:
    """Nothing may have been applied, unless the saga was forgotten since."""
    machine = scope.machine
    unexplained = [step for step in evidence.steps if not is_refused(machine, None, step)]
    creations = [step for step in evidence.steps if step.is_creation and step.status is not Status.REFUSED]
    is_saga = bool(creations) or bool(saga.changelog)
    if not unexplained:
        return Verdict(saga.saga_id, is_saga=is_saga)
    if evidence.was_held and not creations:
        return _unverified(saga, Reason.ELSEWHERE, "the store was asked for it, and had none", is_saga=False)
    if saga.changelog:
        return _unverified(saga, Reason.FORGOTTEN, "it has finished and was forgotten; its record is gone")
    if creations and may_be_forgotten(scope, saga, evidence):
        return _unverified(saga, Reason.FORGOTTEN, "it is old enough to have finished and to have been forgotten")
    if any(step.status is Status.UNKNOWN for step in unexplained):
        return _unverified(
            saga, Reason.RETENTION, "what the unmatched topic held of that time is gone", is_saga=is_saga
        )
    if not creations and saga.key and (scope.may_share_inputs or not _is_whole(scope, saga)):
        return _unverified(saga, Reason.FOREIGN, "nothing tells of such a saga", is_saga=False)
    if creations and saga.commands:
        message = "its commands were sent, but the saga has no record"
        return Verdict(saga.saga_id, (found(Kind.RECORD_MISSING, saga, creations[0].record, message),))
    message = "it has had no effect and is not among the unmatched inputs; no saga of this id is recorded"
    findings = tuple(found(Kind.INPUT_LOST, saga, step.record, message) for step in unexplained)
    return Verdict(saga.saga_id, findings, is_saga=is_saga)


def _is_whole(scope: Scope, saga: SagaRecords) -> bool:
    """Whether the saga's home still holds the first records of all its inputs."""
    return not any(place in scope.retained_from_ms for place in scope.sources(home(saga.key, scope.home_partitions)))


# --- sagas that have one ----------------------------------------------------------------------------------------------


def _judge_recorded(scope: Scope, saga: SagaRecords, evidence: Evidence, latest: InputRecord) -> Verdict:
    try:
        recorded = decode_saga(latest.value or b"")
        if is_awaited(recorded):
            return _unverified(saga, Reason.ELSEWHERE, "it is still to be loaded from the store")
        if not {IMPORTED, ADOPTED}.isdisjoint(recorded.earlier_revisions):
            return _unverified(saga, Reason.ELSEWHERE, "it began elsewhere: it was imported, or loaded from the store")
        history = history_entries(recorded)
        created_at_ms = parse_timestamp(recorded.created_at)
    except (InvariantError, msgspec.MsgspecError, ValueError) as error:
        return Verdict(saga.saga_id, (found(Kind.RECORD_UNREADABLE, saga, latest, str(error)),))
    if recorded.revision != scope.machine.revision:
        detail = f"it stands at revision {recorded.revision} of the machine, this is {scope.machine.revision}"
        return _unverified(saga, Reason.REVISION, detail)

    def compare(applied: Applied) -> tuple[Finding, ...]:
        return tuple(_compare(scope, saga, applied, recorded, latest))

    result = replay(scope.machine, _before_end(saga, evidence), history, compare)
    findings = list(result.findings)
    if result.applied is None and result.is_exhausted:
        diagnosis = diagnose(scope.machine, saga, evidence, history)
        findings += diagnosis.findings
        if diagnosis.applied is not None:
            findings += compare(diagnosis.applied)
    elif (findings or result.applied is None) and not result.is_exhausted:
        detail = "its inputs can be ordered in too many ways: the same event came often in the same millisecond"
        return _unverified(saga, Reason.AMBIGUOUS, detail)
    if not findings:
        return Verdict(saga.saga_id)
    is_replayed = result.applied is not None and all(each.kind is not Kind.RECORD_DIFFERS for each in findings)
    excuse = _excuse(scope, saga, evidence, recorded, None if is_replayed else created_at_ms)
    return excuse or _without_doubt(saga, findings)


def _without_doubt(saga: SagaRecords, findings: Sequence[Finding]) -> Verdict:
    """Findings that have no harmless reason; if each may have one, that is what there is to say."""
    certain = tuple(each for each in findings if each.doubt is None)
    if certain or findings[0].doubt is None:
        return Verdict(saga.saga_id, certain)
    return _unverified(saga, findings[0].doubt, findings[0].message)


def _before_end(saga: SagaRecords, evidence: Evidence) -> list[list[Step]]:
    """The streams; of a forgotten saga without what came too late, which was refused as unknown."""
    if not saga.changelog or saga.changelog[-1].value:
        return [list(stream) for stream in evidence.streams]
    return [before_oblivion(stream) for stream in evidence.streams]


def _compare(scope: Scope, saga: SagaRecords, applied: Applied, recorded: Saga, latest: InputRecord) -> list[Finding]:
    """What the record and the commands have that the replay has not, or the other way round."""
    findings: list[Finding] = []
    assert applied.decision.saga is not None
    different, ahead = compare_record(scope.machine, applied.decision.saga, recorded)
    if different:
        message = f"it differs from the replay in {', '.join(different)}"
        doubt = None
        if 0 < ahead < len(applied.chain()):  # one for each event that was applied
            message += f", which is ahead by {ahead}: as if {ahead} of its events had been held for a while"
            doubt = Reason.REVISION  # such as one that does not know a state, rolled back; it left no other trace
        findings.append(found(Kind.RECORD_DIFFERS, saga, latest, message, doubt))
    return findings + judge_commands(scope, saga, applied.chain(), recorded.created_at)


def _was_on_hold(scope: Scope, recorded: Saga) -> bool:
    """Whether the saga has changed more often than by its events and by answers to its commands over HTTP."""
    entered = [
        scope.machine.states.get(StateId(each["state"])) for each in msgspec.json.decode(recorded.history.states)
    ]
    commands = [c for state in entered if state for c in (state.command, *state.side_commands) if c]
    return recorded.seq > len(entered) + sum(command.is_outbox for command in commands)


def _excuse(
    scope: Scope, saga: SagaRecords, evidence: Evidence, recorded: Saga, inputs_from_ms: int | None
) -> Verdict | None:
    """A harmless reason that findings may have; then they are none. `inputs_from_ms` None: all inputs are there."""
    sources = scope.sources(home(saga.key, scope.home_partitions))
    if inputs_from_ms is not None and not all(scope.is_retained(place, inputs_from_ms) for place in sources):
        return _unverified(saga, Reason.RETENTION, "some of its inputs may be gone: the topics' retention removed them")
    if inputs_from_ms is not None and any(step.status is Status.UNKNOWN for step in evidence.steps):
        return _unverified(saga, Reason.RETENTION, "what the unmatched topic held of that time is gone")
    if scope.machine.has_hooks and (recorded.hold or _was_on_hold(scope, recorded)):
        return _unverified(saga, Reason.HOOK, "a hook of it failed once, which it need not do again now")
    if evidence.was_held or recorded.held or recorded.earlier_revisions:
        return _unverified(saga, Reason.REVISION, "it was moved by another revision of the machine as well")
    creations = sorted(s.record.timestamp for s in evidence.steps if s.is_creation and s.status is not Status.REFUSED)
    is_second_life = len(creations) > 1 and creations[0] < scope.now_ms - scope.retention_finished_ms
    if is_second_life or any(not record.value for record in saga.changelog[:-1]):
        return _unverified(saga, Reason.FORGOTTEN, "an earlier saga of this id was forgotten")
    return None
