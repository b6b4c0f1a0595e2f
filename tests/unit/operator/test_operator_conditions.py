"""Conditions of the status: reasons, messages and when their time changes."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import flowmachine
from flowmachine.errors import Problem
from flowmachine_operator.plan.conditions import STORE_REASONS, Condition, plan_conditions
from flowmachine_operator.plan.facts import EngineFacts, Facts, KafkaAnswer, KafkaFacts, StoreFacts
from flowmachine_operator.plan.replicas import ReplicaPlan, ReplicaReason
from flowmachine_operator.plan.verdict import MESSAGE_LENGTH_MAX

EARLIER, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
KAFKA = KafkaFacts(KafkaAnswer.REACHABLE, input_partitions={"events": 3}, home_partitions=3)
RUNNING = Facts(
    generation=7,
    replicas=ReplicaPlan(3, ReplicaReason.PARTITIONS),
    kafka=KAFKA,
    engines=EngineFacts(ready=3, updated=3, total=3),
)
WAITING = ReplicaPlan(0, ReplicaReason.WAITING)
PAUSED = ReplicaPlan(0, ReplicaReason.PAUSED)


def by_type(facts: Facts, previous: tuple[Condition, ...] = (), now: str = NOW) -> dict[str, Condition]:
    return {condition.type: condition for condition in plan_conditions(facts, previous, now=now)}


CASES = [
    (RUNNING, "Ready", "Running", "3 of 3 engines are ready"),
    (replace(RUNNING, problems=(Problem("spec.x", "c", "is odd"),)), "Stalled", "MachineInvalid", "spec.x: is odd"),
    (replace(RUNNING, missing_secrets=("kafka/password",)), "Stalled", "SecretMissing", "kafka/password"),
    (
        replace(RUNNING, kafka=KafkaFacts(KafkaAnswer.REFUSED, "SASL authentication failed")),
        "Stalled",
        "KafkaRefused",
        "check sasl, tls and its rights: SASL authentication failed",
    ),
    (replace(RUNNING, kafka=replace(KAFKA, missing_topics=("e", "f"))), "Stalled", "TopicMissing", "e, f"),
    (
        Facts(1, WAITING, kafka=KafkaFacts(KafkaAnswer.UNREACHABLE, "k:9092: timed out")),
        "Reconciling",
        "KafkaUnreachable",
        "k:9092: timed out",
    ),
    (replace(RUNNING, kafka=KafkaFacts(KafkaAnswer.UNREACHABLE)), "Ready", "Running", "3 of 3"),
    (Facts(1, WAITING), "Reconciling", "Waiting", "not known yet"),
    (replace(RUNNING, engines=EngineFacts(2, 3, 3, "quota exceeded")), "Stalled", "EnginesFailing", "quota exceeded"),
    (replace(RUNNING, engines=EngineFacts(2, 1, 3)), "Reconciling", "RollingOut", "1 of 3 engines have"),
    (replace(RUNNING, engines=EngineFacts(4, 3, 4)), "Reconciling", "RollingOut", "3 of 3 engines have"),
    (replace(RUNNING, engines=EngineFacts(2, 3, 3)), "Reconciling", "EnginesNotReady", "2 of 3 engines are ready"),
    (replace(RUNNING, replicas=PAUSED), "Reconciling", "Pausing", "3 engines drain"),
    (replace(RUNNING, replicas=PAUSED, engines=EngineFacts()), "Ready", "Paused", "scaling.replicas is 0"),
    (
        replace(RUNNING, replicas=ReplicaPlan(3, ReplicaReason.FIXED, idle=1)),
        "Ready",
        "Running",
        "3 of 3 engines are ready, 1 of them without a partition",
    ),
]


@pytest.mark.parametrize(("facts", "kind", "reason", "words"), CASES)
def test_one_of_three_is_true_and_says_why(facts: Facts, kind: str, reason: str, words: str) -> None:
    conditions = by_type(facts)

    true = [name for name in ("Ready", "Reconciling", "Stalled") if conditions[name].status == "True"]
    assert true == [kind]
    assert conditions["Ready"].reason == reason
    assert words in conditions["Ready"].message
    assert conditions[kind].message == conditions["Ready"].message
    assert {condition.observed_generation for condition in conditions.values()} == {facts.generation}


def test_bad_machine_says_that_the_one_before_runs_on() -> None:
    facts = replace(RUNNING, problems=tuple(Problem(f"spec.{n}", "c", "is odd") for n in range(12)))

    conditions = by_type(facts)

    assert "and 2 more. The revision before runs on, 3 of 3 engines are ready" in conditions["Stalled"].message
    assert (conditions["MachineValid"].status, conditions["MachineValid"].reason) == ("False", "MachineInvalid")


@pytest.mark.parametrize(
    ("kafka", "status", "reason"),
    [
        (KafkaFacts(), "Unknown", "NotAsked"),
        (KAFKA, "True", "Reachable"),
        (replace(KAFKA, missing_topics=("t",)), "True", "TopicMissing"),
        (KafkaFacts(KafkaAnswer.UNREACHABLE, "away"), "False", "Unreachable"),
        (KafkaFacts(KafkaAnswer.REFUSED, "no"), "False", "Refused"),
    ],
)
def test_kafka(kafka: KafkaFacts, status: str, reason: str) -> None:
    condition = by_type(replace(RUNNING, kafka=kafka))["KafkaReachable"]

    assert (condition.status, condition.reason) == (status, reason)
    assert ("3 engines go on" in condition.message) == (status == "False")


@pytest.mark.parametrize(
    ("kafka", "status", "words"),
    [
        (KAFKA, "True", "3 partitions"),
        (replace(KAFKA, input_partitions={"a": 3, "b": 8}), "False", "3 home partitions, but b has 8"),
        (replace(KAFKA, input_partitions={"a": 3, "b": 8}), "False", "set scaling.maxReplicas to 3"),
        (replace(KAFKA, input_partitions={"a": 3, "b": 2}), "False", "Give these topics 3 partitions"),
        (replace(KAFKA, home_partitions=None), "Unknown", "not known"),
        (replace(KAFKA, input_partitions={}), "Unknown", "not known"),
    ],
)
def test_partitions_aligned(kafka: KafkaFacts, status: str, words: str) -> None:
    condition = by_type(replace(RUNNING, kafka=kafka))["PartitionsAligned"]

    assert condition.status == status
    assert words in condition.message


@pytest.mark.parametrize(
    ("store", "status", "reason"),
    [
        (StoreFacts(), "Unknown", "NotTold"),
        (StoreFacts("none"), "True", "NoStore"),
        (StoreFacts("mongo"), "True", "StoreWorking"),
        (StoreFacts("rest", "transient", "no answer"), "False", "StoreUnavailable"),
        (StoreFacts("kubernetes", "store-full", "no answer"), "False", "StoreFull"),
        (StoreFacts("postgres", "invariant", "no answer"), "False", "StoreFailing"),
    ],
)
def test_store(store: StoreFacts, status: str, reason: str) -> None:
    conditions = by_type(replace(RUNNING, store=store))

    assert (conditions["StoreReady"].status, conditions["StoreReady"].reason) == (status, reason)
    assert (f"the {store.kind} store lacks some of them: no answer" in conditions["StoreReady"].message) == (
        status == "False"
    )
    assert conditions["Ready"].status == "True"


def test_every_code_of_a_store_has_a_reason() -> None:
    package = Path(flowmachine.__file__).parent
    sources = (path.read_text() for path in package.rglob("*.py"))
    codes = {code for source in sources for code in re.findall(r'"(store-[a-z]+)"', source)}

    assert codes - set(STORE_REASONS) == set()
    assert set(STORE_REASONS) - codes == {"transient"}


def test_held_sagas_are_told() -> None:
    condition = by_type(replace(RUNNING, held_sagas=2))["MachineValid"]

    assert (condition.status, condition.reason) == ("True", "SagasHeld")
    assert condition.message.startswith("2 sagas wait")


def test_time_changes_with_the_status_only() -> None:
    before = plan_conditions(RUNNING, (), now=EARLIER)
    assert {condition.last_transition_time for condition in before} == {EARLIER}

    rolling = by_type(replace(RUNNING, generation=8, engines=EngineFacts(2, 2, 3)), before)

    changed = {name for name, condition in rolling.items() if condition.last_transition_time == NOW}
    assert changed == {"Ready", "Reconciling"}
    assert rolling["KafkaReachable"].observed_generation == 8


def test_equal_facts_leave_nothing_to_write() -> None:
    before = plan_conditions(RUNNING, (), now=EARLIER)

    assert plan_conditions(RUNNING, before, now=NOW) == before


def test_messages_are_bounded() -> None:
    facts = replace(
        RUNNING,
        problems=tuple(Problem("spec." + "p" * 900, "c", "m" * 900) for _ in range(50)),
        kafka=KafkaFacts(KafkaAnswer.REFUSED, "x" * 100_000),
    )

    lengths = [len(condition.message) for condition in by_type(facts).values()]

    assert max(lengths) <= MESSAGE_LENGTH_MAX + 100


def test_condition_as_the_api_server_has_it() -> None:
    assert by_type(RUNNING)["MachineValid"].to_manifest() == {
        "type": "MachineValid",
        "status": "True",
        "reason": "Valid",
        "message": "the machine can run",
        "observedGeneration": 7,
        "lastTransitionTime": NOW,
    }
