"""The status, the events, and which children there are."""

from dataclasses import replace
from typing import Any

import pytest

from flowmachine.config.resource import Scaling
from flowmachine_operator.build.document import build_document
from flowmachine_operator.build.subject import EngineDefaults, Subject
from flowmachine_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    LEASE,
    NETWORK_POLICY,
    POD_MONITOR,
    SECRET,
    SERVICE,
    WEBHOOK_CONFIGURATION,
    kind_of,
)
from flowmachine_operator.plan.children import ChildOptions, build_children, keeps_deployment, name_of
from flowmachine_operator.plan.conditions import Condition, parse_conditions, plan_conditions
from flowmachine_operator.plan.facts import EngineFacts, Facts, KafkaAnswer, KafkaFacts, Outside
from flowmachine_operator.plan.judge import judge
from flowmachine_operator.plan.kube_events import plan_kube_events
from flowmachine_operator.plan.replicas import ReplicaPlan, ReplicaReason, plan_replicas
from flowmachine_operator.plan.status import build_status, count_sagas, read_engines, read_replicas
from tests.unit.operator.test_operator_judge import machine

GOOD = KafkaFacts(KafkaAnswer.REACHABLE, input_partitions={"events": 2}, home_partitions=2)
FACTS = Facts(3, ReplicaPlan(2, ReplicaReason.PARTITIONS), kafka=GOOD, engines=EngineFacts(2, 2, 2))
EVERYTHING = ChildOptions(
    network_policies=True, pod_monitors=True, has_pod_monitors=True, operator_namespace="flowmachine-system"
)
NOTHING = replace(EVERYTHING, network_policies=False, has_pod_monitors=False)


def deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 5},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"flowmachine.io/revision": "r1"}}}},
        "status": {"observedGeneration": 5, "readyReplicas": 2, "updatedReplicas": 1, "replicas": 3, **status},
    }


def test_engines_are_what_the_deployment_says() -> None:
    assert read_engines(None) == EngineFacts()
    assert read_replicas(None) is None
    assert read_engines(deployment()) == EngineFacts(ready=2, updated=1, total=3)
    assert read_replicas(deployment()) == 3


def test_what_is_said_of_an_older_deployment_is_not_about_this_one() -> None:
    failed = [{"type": "Progressing", "status": "False", "message": "deadline"}]
    assert read_engines(deployment(observedGeneration=4, conditions=failed)) == EngineFacts(2, 0, 3)
    assert read_engines(deployment(conditions=failed)).failure == "deadline"


def test_sagas_are_counted_by_what_their_states_are_in_this_machine() -> None:
    resource = judge(machine()).resource
    assert resource is not None
    counts = count_sagas(resource, {"a": 3, "z": 2, "removed": 4, "empty": 0})
    assert (counts.active, counts.finished, counts.held) == (7, 2, 4)
    assert counts.to_manifest()["byState"] == {"a": 3, "removed": 4, "z": 2}


def status_of(facts: Facts, before: tuple[Condition, ...] = ()) -> tuple[tuple[Condition, ...], dict[str, Any]]:
    conditions = plan_conditions(facts, before, now="2026-01-01T00:00:00Z")
    return conditions, build_status(facts, conditions, machine="orders", deployment=deployment(), sagas={"active": 1})


def test_status_tells_what_runs() -> None:
    _, status = status_of(FACTS)
    assert {name: value for name, value in status.items() if name != "conditions"} == {
        "observedGeneration": 3,
        "replicas": 2,
        "readyReplicas": 2,
        "partitions": 2,
        "revision": "r1",
        "sagas": {"active": 1},
        "selector": "app.kubernetes.io/component=engine,app.kubernetes.io/instance=orders,"
        "app.kubernetes.io/name=flowmachine",
    }
    bare = replace(FACTS, kafka=KafkaFacts())
    assert not {"partitions", "revision", "sagas"} & set(
        build_status(bare, (), machine="orders", deployment=None, sagas=None)
    )


def test_conditions_are_read_as_they_were_written() -> None:
    conditions, status = status_of(FACTS)
    assert parse_conditions(status) == conditions
    assert parse_conditions({"conditions": [{"type": "Ready", "status": "Perhaps"}]}) == ()
    assert parse_conditions({"conditions": [{"type": "Ready", "status": "True"}]})[0].observed_generation == 0


def events(old: Facts | None, new: Facts) -> list[tuple[str, str]]:
    before, old_status = status_of(old) if old is not None else ((), {})
    after, new_status = status_of(new, before)
    found = plan_kube_events(before, after, old_status=old_status, new_status=new_status)
    return [(event.type, event.reason) for event in found]


def test_events_are_about_changes_only() -> None:
    away = replace(FACTS, kafka=KafkaFacts(KafkaAnswer.UNREACHABLE, "k"))
    assert events(None, FACTS) == [("Normal", "Running")]
    assert events(FACTS, FACTS) == []
    assert events(FACTS, replace(FACTS, missing_secrets=("s",))) == [("Warning", "SecretMissing")]
    assert events(FACTS, away) == [("Warning", "Unreachable")]
    assert events(away, replace(away, kafka=KafkaFacts(KafkaAnswer.UNREACHABLE, "another message"))) == []
    more = replace(FACTS, replicas=ReplicaPlan(4, ReplicaReason.PARTITIONS), engines=EngineFacts(4, 4, 4))
    assert events(FACTS, more) == [("Normal", "Scaled")]


def test_another_revision_is_told() -> None:
    conditions, status = status_of(FACTS)
    found = plan_kube_events(conditions, conditions, old_status={**status, "revision": "r0"}, new_status=status)
    assert [event.note for event in found] == ["engines change from r0 to r1"]


def test_refusals_and_deletions_have_their_own_reasons() -> None:
    for facts, kind, reason in (
        (replace(FACTS, refusals=("the Service is not ours",)), "Stalled", "ChildRefused"),
        (replace(FACTS, deletion="2 engines drain"), "Reconciling", "Deleting"),
    ):
        conditions = {item.type: item for item in status_of(facts)[0]}
        assert (conditions[kind].status, conditions[kind].reason) == ("True", reason)


def test_why_kafka_was_not_asked_is_told() -> None:
    silent = replace(FACTS, kafka=KafkaFacts(message="in files"), replicas=ReplicaPlan(0, ReplicaReason.WAITING))
    conditions = {item.type: item for item in status_of(silent)[0]}
    assert conditions["KafkaReachable"].message == conditions["Ready"].message == "in files"


def subject() -> Subject:
    resource = judge(machine()).resource
    assert resource is not None
    return Subject(resource, "1", EngineDefaults("flowmachine:1"))


def test_optional_children_exist_where_they_are_wanted_and_possible() -> None:
    document = build_document(subject())
    all_of_them = build_children(subject(), document, EVERYTHING, replicas=2, secret_versions={})
    fewest = build_children(subject(), document, NOTHING, replicas=2, secret_versions={})
    assert set(all_of_them) - set(fewest) == {NETWORK_POLICY, POD_MONITOR}
    assert SECRET not in all_of_them
    assert list(all_of_them)[-1] == DEPLOYMENT
    assert {kind_of(manifest) for manifest in all_of_them.values()} == set(all_of_them)
    assert POD_MONITOR in EVERYTHING.kinds
    assert POD_MONITOR not in NOTHING.kinds


def test_names_of_children() -> None:
    assert name_of(SERVICE, "orders") == "fm-orders"
    assert name_of(SECRET, "orders") == "fm-orders-literals"
    with pytest.raises(AssertionError):
        name_of(CONFIG_MAP, "orders")


@pytest.mark.parametrize(
    ("outside", "keeps"),
    [
        (Outside(kafka=GOOD), False),
        (Outside(missing_secrets=("s",)), True),
        (Outside(kafka=KafkaFacts(KafkaAnswer.REFUSED)), True),
        (Outside(kafka=replace(GOOD, missing_topics=("t",))), True),
        (Outside(kafka=KafkaFacts(KafkaAnswer.UNREACHABLE)), False),
    ],
)
def test_engines_that_run_are_left_alone_when_new_ones_could_not(outside: Outside, *, keeps: bool) -> None:
    kept = ReplicaPlan(2, ReplicaReason.KEPT)
    assert keeps_deployment(outside, kept, {DEPLOYMENT: {}}) is keeps
    assert not keeps_deployment(outside, kept, {})
    assert not keeps_deployment(outside, ReplicaPlan(0, ReplicaReason.PAUSED), {DEPLOYMENT: {}})


def test_engines_follow_the_inputs_and_those_without_a_home_are_idle() -> None:
    grown = KafkaFacts(KafkaAnswer.REACHABLE, input_partitions={"a": 4, "b": 1}, home_partitions=2)
    plan = plan_replicas(grown.partitions, Scaling(), 2, homes=grown.home_partitions)
    assert plan == ReplicaPlan(4, ReplicaReason.PARTITIONS, idle=2)
    assert KafkaFacts(home_partitions=3).partitions == 3
    assert KafkaFacts().partitions is None


def test_paths() -> None:
    assert SERVICE.path("shop", "s") == "/api/v1/namespaces/shop/services/s"
    assert SERVICE.path(None) == "/api/v1/services"
    assert LEASE.path("shop", "l", "status") == "/apis/coordination.k8s.io/v1/namespaces/shop/leases/l/status"
    assert WEBHOOK_CONFIGURATION.path(None, "w").endswith("/validatingwebhookconfigurations/w")
