"""The conditions of a FlowMachine, as kstatus reads them.

| type              | True                                 | False                             | Unknown              |
|-------------------|--------------------------------------|-----------------------------------|----------------------|
| Ready             | the wanted engines run, or it pauses | see Reconciling and Stalled       | -                    |
| Reconciling       | on its way; nobody need do anything  | nothing to do                     | -                    |
| Stalled           | somebody must do something           | nobody must                       | -                    |
| KafkaReachable    | Kafka answered                       | it is silent, or refuses          | not asked            |
| MachineValid      | it can run                           | the message lists what is wrong   | -                    |
| PartitionsAligned | no record needs a second hop         | the message says which topics do  | partitions not known |
| StoreReady        | copies of sagas get to their store   | they do not, or not all of them   | no engine has told   |

Exactly one of Ready, Reconciling and Stalled is true. The reason and the message of Ready are the verdict's: the column
State of `kubectl get fm` shows that reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from flowmachine.config.documents import as_array, as_object
from flowmachine_operator.plan.facts import Facts, KafkaAnswer
from flowmachine_operator.plan.verdict import (
    Kind,
    cut,
    describe_kafka,
    describe_missing_topics,
    list_problems,
    list_some,
    plan_verdict,
)

Status = Literal["True", "False", "Unknown"]
STATUSES: Final[tuple[Status, ...]] = ("True", "False", "Unknown")

STORE_REASONS: Final[Mapping[str, str]] = {
    "transient": "StoreUnavailable",
    "store-credentials": "StoreCredentialsRefused",
    "store-permission": "StorePermissionMissing",
    "store-missing": "StoreMissing",
    "store-tls": "StoreTlsFailed",
    "store-uri": "StoreUriInvalid",
    "store-foreign": "StoreForeign",
    "store-full": "StoreFull",
}
"""By the code that engines give."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, as it stands in the status."""

    type: str
    status: Status
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str
    """RFC 3339; of the last change of `status`, not of the message."""

    def to_manifest(self) -> dict[str, object]:
        """The condition as the API server has it."""
        return {
            "type": self.type,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.observed_generation,
            "lastTransitionTime": self.last_transition_time,
        }


def parse_conditions(status: Mapping[str, object]) -> tuple[Condition, ...]:
    """The conditions of a status; what cannot be read is left out, and so counts as new."""
    found: list[Condition] = []
    for item in map(as_object, as_array(status.get("conditions"))):
        state: Status | None = next((value for value in STATUSES if value == item.get("status")), None)
        generation = item.get("observedGeneration")
        if state is not None:
            found.append(
                Condition(
                    type=str(item.get("type")),
                    status=state,
                    reason=str(item.get("reason")),
                    message=str(item.get("message")),
                    observed_generation=generation if isinstance(generation, int) else 0,
                    last_transition_time=str(item.get("lastTransitionTime")),
                )
            )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Finding:
    status: Status
    reason: str
    message: str


def plan_conditions(facts: Facts, previous: Iterable[Condition], *, now: str) -> tuple[Condition, ...]:
    """All seven. `now` becomes the time of those whose status differs from the previous one, or that are new.

    Equal facts give equal conditions, whatever the time: there is nothing to write then.
    """
    before = {condition.type: condition for condition in previous}
    found = {
        **_plan_summary(facts),
        "KafkaReachable": _plan_kafka(facts),
        "MachineValid": _plan_valid(facts),
        "PartitionsAligned": _plan_aligned(facts),
        "StoreReady": _plan_store(facts),
    }
    conditions: list[Condition] = []
    for name, finding in found.items():
        old = before.get(name)
        since = old.last_transition_time if old is not None and old.status == finding.status else now
        conditions.append(Condition(name, finding.status, finding.reason, finding.message, facts.generation, since))
    return tuple(conditions)


def _plan_summary(facts: Facts) -> dict[str, _Finding]:
    verdict = plan_verdict(facts)
    summary = {"Ready": _Finding("True" if verdict.kind is Kind.READY else "False", verdict.reason, verdict.message)}
    for kind, none in ((Kind.RECONCILING, "nothing is under way"), (Kind.STALLED, "nobody has to do anything")):
        if verdict.kind is kind:
            summary[kind.value] = _Finding("True", verdict.reason, verdict.message)
        else:
            summary[kind.value] = _Finding("False", verdict.reason, none)
    return summary


def _plan_kafka(facts: Facts) -> _Finding:
    answer = facts.kafka.answer
    if answer is KafkaAnswer.NOT_ASKED:
        message = facts.kafka.message or "Kafka is asked once the FlowMachine is valid and its Secrets exist"
        return _Finding("Unknown", "NotAsked", message)
    if answer is not KafkaAnswer.REACHABLE:
        kept = f". {facts.engines.total} engines go on" if facts.engines.total else ""
        return _Finding("False", answer.value, f"{describe_kafka(facts)}{kept}")
    if facts.kafka.missing_topics:
        return _Finding("True", "TopicMissing", f"Kafka answers; {describe_missing_topics(facts)}")
    return _Finding("True", "Reachable", "Kafka answers, and all topics exist")


def _plan_valid(facts: Facts) -> _Finding:
    if facts.problems:
        return _Finding("False", "MachineInvalid", list_problems(facts.problems))
    if facts.held_sagas:
        message = (
            f"{facts.held_sagas} sagas wait in states that the machine no longer has; "
            "they go on when a machine with these states is applied"
        )
        return _Finding("True", "SagasHeld", message)
    return _Finding("True", "Valid", "the machine can run")


def _plan_aligned(facts: Facts) -> _Finding:
    home, inputs = facts.kafka.home_partitions, facts.kafka.input_partitions
    if home is None or not inputs:
        return _Finding("Unknown", "PartitionsUnknown", "the partitions of the topics are not known yet")
    different = tuple(f"{topic} has {count}" for topic, count in sorted(inputs.items()) if count != home)
    if different:
        # Kafka takes no partition away, and sagas do not change their home.
        advice = (
            "A machine keeps its home partitions; to do without engines that stand by, "
            f"set scaling.maxReplicas to {home}"
            if max(inputs.values()) > home
            else f"Give these topics {home} partitions to avoid it"
        )
        message = (
            f"the machine has {home} home partitions, but {list_some(different)}: events are forwarded to their "
            f"saga's partition, which costs a hop and loses nothing. {advice}"
        )
        return _Finding("False", "PartitionsDiffer", message)
    return _Finding("True", "Aligned", f"all input topics have {home} partitions, as the machine has")


def _plan_store(facts: Facts) -> _Finding:
    store = facts.store
    if not store.kind:
        return _Finding("Unknown", "NotTold", "no engine that is ready has told how the store is")
    if store.kind == "none":
        return _Finding("True", "NoStore", "the machine keeps no copies of its sagas")
    if not store.code:
        return _Finding("True", "StoreWorking", f"the {store.kind} store takes copies of the sagas")
    reason = STORE_REASONS.get(store.code, "StoreFailing")
    return _Finding(
        "False", reason, cut(f"sagas go on, but the {store.kind} store lacks some of them: {store.problem}")
    )
