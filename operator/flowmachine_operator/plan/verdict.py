"""What a machine's state comes down to: the most fundamental thing that holds it up, or that it runs.

1.  it is being deleted      Reconciling
2.  it is not valid          Stalled      the user changes the FlowMachine
3.  a child is refused       Stalled      the user changes the template, a quota, the name of another object
4.  a Secret is missing      Stalled      the user makes it
5.  Kafka refuses us         Stalled      the user changes credentials or rights
6.  a topic is missing       Stalled      the user makes it
7.  Kafka does not answer    Reconciling  only while no engine runs: those that run judge for themselves
8.  engines fail             Stalled      the user looks at the pods
9.  engines are on their way Reconciling
10. paused, or running       Ready
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from flowmachine.errors import Problem
from flowmachine_operator.plan.facts import Facts, KafkaAnswer
from flowmachine_operator.plan.replicas import ReplicaReason

LISTED_MAX: Final = 10
"""Problems or names in one message: as many as a person reads."""

MESSAGE_LENGTH_MAX: Final = 4096
"""The API server takes 32 KiB; one sentence may quote a field of the user."""


class Kind(Enum):
    """Which of the three kstatus conditions is true."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of a machine in one word and one sentence."""

    kind: Kind
    reason: str
    message: str


def plan_verdict(facts: Facts) -> Verdict:
    """The verdict: total, and the same for the same facts."""
    return _find_obstacle(facts) or _judge_engines(facts)


def list_problems(problems: tuple[Problem, ...]) -> str:
    """The first problems, and how many more there are."""
    return list_some(tuple(str(problem) for problem in problems), separator="; ")


def list_some(items: tuple[str, ...], *, separator: str = ", ") -> str:
    """The first items, and how many more there are; never longer than a message may be."""
    more = len(items) - LISTED_MAX
    text = separator.join(items[:LISTED_MAX]) + (f"{separator}and {more} more" if more > 0 else "")
    return cut(text)


def cut(text: str) -> str:
    """The text, shortened to what a message may have."""
    return text if len(text) <= MESSAGE_LENGTH_MAX else f"{text[: MESSAGE_LENGTH_MAX - 3]}..."


def _find_obstacle(facts: Facts) -> Verdict | None:
    if facts.deletion:
        return Verdict(Kind.RECONCILING, "Deleting", cut(facts.deletion))
    if facts.problems:
        going_on = _going_on(facts)
        return Verdict(
            Kind.STALLED, "MachineInvalid", cut(f"change the FlowMachine: {list_problems(facts.problems)}{going_on}")
        )
    if facts.refusals:
        return Verdict(Kind.STALLED, "ChildRefused", list_some(facts.refusals, separator="; "))
    if facts.missing_secrets:
        return Verdict(
            Kind.STALLED, "SecretMissing", f"create the Secret or the key: {list_some(facts.missing_secrets)}"
        )
    return _find_kafka_obstacle(facts)


def _find_kafka_obstacle(facts: Facts) -> Verdict | None:
    kafka = facts.kafka
    if kafka.answer is KafkaAnswer.REFUSED:
        return Verdict(Kind.STALLED, "KafkaRefused", describe_kafka(facts))
    if kafka.missing_topics:
        return Verdict(Kind.STALLED, "TopicMissing", describe_missing_topics(facts))
    if kafka.answer is KafkaAnswer.UNREACHABLE and facts.replicas.reason is ReplicaReason.WAITING:
        message = f"no engine is started before Kafka answers: {describe_kafka(facts)}"
        return Verdict(Kind.RECONCILING, "KafkaUnreachable", cut(message))
    return None


def _judge_engines(facts: Facts) -> Verdict:
    engines, plan = facts.engines, facts.replicas
    if plan.reason is ReplicaReason.PAUSED and engines.total:
        return Verdict(Kind.RECONCILING, "Pausing", f"{engines.total} engines drain and end")
    if plan.reason is ReplicaReason.PAUSED:
        message = "paused, because scaling.replicas is 0; sagas stay where they are. Remove it to go on"
        return Verdict(Kind.READY, "Paused", message)
    if plan.reason is ReplicaReason.WAITING:
        message = facts.kafka.message or "the number of partitions is not known yet"
        return Verdict(Kind.RECONCILING, "Waiting", cut(message))
    if engines.failure:
        message = f"{_count_ready(facts)}; look at the pods: {engines.failure}"
        return Verdict(Kind.STALLED, "EnginesFailing", cut(message))
    if engines.updated < plan.replicas or engines.total > plan.replicas:
        message = f"{min(engines.updated, plan.replicas)} of {plan.replicas} engines have what is wanted"
        return Verdict(Kind.RECONCILING, "RollingOut", f"{message}; {_count_ready(facts)}")
    if engines.ready < plan.replicas:
        return Verdict(Kind.RECONCILING, "EnginesNotReady", f"{_count_ready(facts)}; the others start or restore")
    idle = f", {plan.idle} of them without a partition" if plan.idle else ""
    return Verdict(Kind.READY, "Running", f"{_count_ready(facts)}{idle}")


def describe_kafka(facts: Facts) -> str:
    """Why Kafka cannot be used, and what to do."""
    detail = f": {facts.kafka.message}" if facts.kafka.message else ""
    if facts.kafka.answer is KafkaAnswer.REFUSED:
        return cut(f"Kafka does not let the machine in; check sasl, tls and its rights{detail}")
    return cut(f"the brokers do not answer; check brokers, tls and the network{detail}")


def describe_missing_topics(facts: Facts) -> str:
    """Which topics must be made."""
    return f"create these topics, or correct their names: {list_some(facts.kafka.missing_topics)}"


def _going_on(facts: Facts) -> str:
    return f". The revision before runs on, {_count_ready(facts)}" if facts.engines.total else ""


def _count_ready(facts: Facts) -> str:
    wanted = max(facts.replicas.replicas, facts.engines.ready)
    return f"{facts.engines.ready} of {wanted} engines are ready"
