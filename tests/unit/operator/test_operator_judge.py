"""What is said about a machine: by itself, against others, at admission."""

from typing import Any

import pytest

from flowmachine.config.resource import FlowMachine
from flowmachine_operator.plan.admission import plan_admission
from flowmachine_operator.plan.claims import Claims, check_claims, claims_of
from flowmachine_operator.plan.judge import judge

BROKERS = ["kafka:9092"]


def machine(name: str = "orders", *, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    kafka = {
        "brokers": BROKERS,
        "inputTopics": [f"{name}-events"],
        "outputTopics": [f"{name}-commands"],
        "consumerGroup": name,
    }
    return {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": "1",
            "managedFields": [{"manager": "kubectl"}],
            "annotations": {"any": "thing"},
        },
        "spec": {
            "machine": {
                "initialState": "a",
                "states": [
                    {
                        "id": "a",
                        "isFinal": False,
                        "businessStateId": 1,
                        "outputCommand": {"channel": "services", "label": "go"},
                        "outgoingTransitions": [{"inputEvent": "gone", "targetState": "z"}],
                    },
                    {"id": "z", "isFinal": True, "businessStateId": 1},
                ],
                "businessStates": [{"id": 1}],
            },
            "channels": [{"id": "services", "kafka": kafka}],
            **spec,
        },
    }


def dangling(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["spec"]["machine"]["states"][0]["outgoingTransitions"][0]["targetState"] = "nowhere"
    return manifest


def loaded(manifest: dict[str, Any]) -> FlowMachine:
    resource = judge(manifest).resource
    assert resource is not None
    return resource


def test_a_good_machine_has_no_problem() -> None:
    judged = judge(machine())
    assert judged.resource is not None
    assert judged.problems == ()


def test_problems_are_those_of_check_with_their_paths() -> None:
    judged = judge(dangling(machine()))
    assert judged.resource is None
    (problem,) = judged.problems
    assert problem.path == "spec.machine.states[0].outgoingTransitions[0].targetState"


def test_a_template_is_judged_too() -> None:
    (problem,) = judge(machine(template={"nodeSelektor": {}})).problems
    assert problem.path == "spec.template.nodeSelektor"


def test_without_kafka_it_cannot_run_in_a_cluster() -> None:
    manifest = machine()
    manifest["spec"]["channels"] = [{"id": "services", "rest": {"host": "h"}}]
    problems = judge(manifest).problems
    assert [problem.code for problem in problems] == ["kafka-needed"]


def review(new: dict[str, Any] | None, old: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: Any = plan_admission({"request": {"uid": "u", "object": new, "oldObject": old}})["response"]
    assert answer["uid"] == "u"
    found: dict[str, Any] = answer
    return found


def test_admission_refuses_a_new_bad_machine_and_says_where() -> None:
    assert review(machine())["allowed"] is True
    answer = review(dangling(machine()))
    assert answer["allowed"] is False
    assert "spec.machine.states[0].outgoingTransitions[0].targetState" in answer["status"]["message"]


def test_admission_lets_a_machine_that_was_bad_already_be_changed() -> None:
    bad, worse = dangling(machine()), dangling(machine())
    bad["metadata"]["labels"] = {"a": "b"}
    assert review(bad, dangling(machine()))["allowed"] is True
    worse["spec"]["scaling"] = {"replicas": 1}
    assert review(worse, bad)["allowed"] is True
    worse["spec"]["template"] = {"nodeSelektor": {}}
    answer = review(worse, bad)
    assert answer["allowed"] is False
    assert "nodeSelektor" in answer["status"]["message"]
    assert "targetState" not in answer["status"]["message"]


def test_admission_never_stands_in_the_way_of_a_deletion() -> None:
    dying = dangling(machine())
    dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert review(dying, machine())["allowed"] is True
    assert review(None, machine())["allowed"] is True


def test_admission_warns_of_what_looks_odd() -> None:
    manifest = machine()
    manifest["spec"]["machine"]["states"].append({"id": "lonely", "isFinal": True, "businessStateId": 1})
    answer = review(manifest)
    assert answer["allowed"] is True
    assert any("lonely" in warning for warning in answer["warnings"])


def claims(name: str, created: str, *, namespace: str = "shop", **kafka: Any) -> Claims:
    manifest = machine(name, namespace=namespace)
    manifest["spec"]["channels"][0]["kafka"].update(kafka)
    found = claims_of(loaded(manifest), created=created)
    assert found is not None
    return found


FIRST = claims("first", "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("second", "codes"),
    [
        (claims("second", "2026-01-02T00:00:00Z"), []),
        (claims("second", "2026-01-02T00:00:00Z", consumerGroup="first"), ["group-taken"]),
        (claims("second", "2026-01-02T00:00:00Z", consumerGroup="first", brokers=["other:9092"]), []),
        (claims("second", "2025-01-01T00:00:00Z", consumerGroup="first"), []),
        (claims("second", "2026-01-01T00:00:00Z", consumerGroup="first"), ["group-taken"]),
        (claims("second", "2026-01-02T00:00:00Z", inputTopics=["flowmachine.shop.first.intake"]), ["topic-taken"]),
        (claims("second", "2026-01-02T00:00:00Z", inputTopics=["first-events"]), []),
    ],
)
def test_the_older_machine_has_the_right(second: Claims, codes: list[str]) -> None:
    problems = check_claims(second, [second, FIRST])
    assert [problem.code for problem in problems] == codes
    assert all("shop/first" in problem.message for problem in problems)


def test_an_older_machine_that_uses_topics_of_a_younger_one_is_told_of() -> None:
    thief = claims("thief", "2025-01-01T00:00:00Z", outputTopics=["flowmachine.shop.first.sagas"])
    assert [problem.code for problem in check_claims(FIRST, [thief])] == ["topic-taken"]


def test_brokers_in_a_secret_are_known_by_its_key() -> None:
    reference = {"secretKeyRef": {"name": "kafka", "key": "brokers"}}
    here = claims("a", "1", brokers=reference)
    assert here.brokers == {"shop/kafka/brokers"}
    there = claims("b", "2", brokers=reference, namespace="bank", consumerGroup="a")
    assert check_claims(there, [here]) == ()
    assert claims("a", "1", brokers={"file": "/brokers"}).brokers == frozenset()


def test_a_machine_without_kafka_claims_nothing() -> None:
    manifest = machine()
    manifest["spec"]["channels"] = [{"id": "services", "rest": {"host": "h"}}]
    assert claims_of(loaded(manifest), created="1") is None
