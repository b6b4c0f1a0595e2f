"""The CRD on a real API server: what it accepts, what it refuses and with which words."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dev.crds.generate import TARGET
from dev.errors import KubectlError
from flowmachine_operator.plan.judge import judge
from tests.support.kubernetes import KubernetesCluster

pytestmark = pytest.mark.kubernetes

KUSTOMIZE = TARGET.parents[1] / "examples/gitops/kustomize"
CRD = "flowmachines.flowmachine.io"
Path = tuple[str | int, ...]

GOOD: dict[str, Any] = {
    "apiVersion": "flowmachine.io/v1alpha1",
    "kind": "FlowMachine",
    "metadata": {"name": "orders"},
    "spec": {
        "machine": {
            "initialState": "created",
            "states": [
                {
                    "id": "created",
                    "isFinal": False,
                    "businessStateId": 1,
                    "outputCommand": {"channel": "services", "label": "executePayment"},
                    "sideEffects": [{"channel": "mail", "label": "tell"}],
                    "outgoingTransitions": [
                        {
                            "inputEvent": "paymentExecuted",
                            "targetState": "paid",
                            "businessEventId": "paid",
                            "payloadValidationSchema": {"type": "object", "properties": {"n": {"const": 1}}},
                        }
                    ],
                },
                {"id": "paid", "isFinal": True, "businessStateId": "done"},
            ],
            "businessStates": [{"id": 1}, {"id": "1"}, {"id": "done"}],
            "businessEvents": [{"id": "paid"}],
        },
        "channels": [
            {
                "id": "services",
                "kafka": {
                    "brokers": ["kafka:9092"],
                    "inputTopics": ["events"],
                    "outputTopics": ["commands"],
                    "consumerGroup": "orders",
                    "sasl": {
                        "mechanism": "plain",
                        "username": "me",
                        "password": {"secretKeyRef": {"name": "kafka", "key": "password"}},
                    },
                },
            },
            {"id": "mail", "rest": {"host": "mail", "headers": {"X-Key": {"file": "/key"}}}},
        ],
        "settings": {"internalTopics": {"replicationFactor": 3, "minInSyncReplicas": 2}},
        "template": {"resources": {"limits": {"memory": "1Gi"}}},
    },
}
STATE: Path = ("spec", "machine", "states", 0)
TRANSITION: Path = (*STATE, "outgoingTransitions", 0)
KAFKA: Path = ("spec", "channels", 0, "kafka")
REMOVED = object()


@pytest.fixture(scope="module")
def cluster(kubernetes_cluster: KubernetesCluster) -> Iterator[KubernetesCluster]:
    """The cluster with the CRD."""
    kubernetes_cluster.kubectl("apply", "--server-side", "-f", str(TARGET))
    kubernetes_cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    yield kubernetes_cluster
    kubernetes_cluster.kubectl("delete", "crd", CRD)


def changed(*changes: tuple[Path, object]) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    for path, value in changes:
        parent: Any = document
        for part in path[:-1]:
            parent = parent[part]
        if value is REMOVED:
            del parent[path[-1]]
        else:
            parent[path[-1]] = value
    return document


def create(cluster: KubernetesCluster, namespace: str, document: dict[str, Any], *options: str) -> None:
    cluster.kubectl("create", "-n", namespace, "-f", "-", *options, stdin=json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        ((*KAFKA, "brokers"), "a:9092,b:9092"),
        ((*KAFKA, "brokers"), {"secretKeyRef": {"name": "s", "key": "k"}}),
        ((*KAFKA, "sasl", "password"), "literal"),
        ((*KAFKA, "sasl", "password"), {"file": "/secret"}),
        ((*STATE, "businessStateId"), "1"),
        ((*TRANSITION, "businessEventId"), REMOVED),
        ((*TRANSITION, "businessEventId"), None),
        (("spec", "scaling"), {"replicas": 0}),
        (("spec", "settings"), REMOVED),
    ],
)
def test_good_machine_is_accepted(cluster: KubernetesCluster, namespace: str, change: tuple[Path, object]) -> None:
    create(cluster, namespace, GOOD, "--dry-run=server")
    create(cluster, namespace, changed(change), "--dry-run=server")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("spec", "machine", "initialState"), "x", "spec.machine.initialState: .*must be the id of a state"),
        ((*TRANSITION, "targetState"), "x", "spec.machine.states: .*every targetState must be the id of a state"),
        ((*STATE, "businessStateId"), 2, "spec.machine.states: .*businessStateId must be"),
        ((*TRANSITION, "businessEventId"), 7, "spec.machine.states: .*businessEventId must be"),
        ((*STATE, "outputCommand", "channel"), "x", "spec.machine.states: .*a channel that does not exist"),
        ((*STATE, "sideEffects", 0, "channel"), "x", "spec.machine.states: .*a channel that does not exist"),
        ((*KAFKA, "outputTopics"), [], "spec.channels: .*without outputTopics"),
        ((*KAFKA, "consumerGroup"), REMOVED, "channels.0..kafka: .*consumerGroup is required"),
        (("spec", "channels", 0, "rest"), {"host": "h"}, "channels.0.: .*either kafka or rest"),
        (("spec", "channels", 1, "rest"), REMOVED, "channels.1.: .*either kafka or rest"),
        (("spec", "channels", 1, "id"), "services", "channels.1.: Duplicate value"),
        (("spec", "machine", "states", 1, "id"), "created", "states.1.: Duplicate value"),
        (("spec", "machine", "businessStates", 1, "id"), 1, "businessStates.1.: Duplicate value"),
        (
            (*STATE, "outgoingTransitions"),
            [GOOD["spec"]["machine"]["states"][0]["outgoingTransitions"][0]] * 2,
            "states.0..outgoingTransitions: .*each inputEvent may stand in one transition",
        ),
        (("spec", "settings", "internalTopics", "minInSyncReplicas"), 4, "must not be larger than replicationFactor"),
        ((*KAFKA, "sasl", "mechanism"), "SCRAM", 'mechanism: Unsupported value: "SCRAM"'),
        ((*KAFKA, "sasl", "password"), {"secretKeyRef": {"name": "s"}}, "password.secretKeyRef.key: Required value"),
        ((*KAFKA, "sasl", "password"), {"secret": "s"}, "at least one schema|unknown field"),
        ((*STATE, "isFinal"), "no", "isFinal.*must be of type boolean"),
        ((*STATE, "businessStateId"), True, "businessStateId.*must be of type integer,string"),
        ((*STATE, "typo"), 1, 'unknown field "spec.machine.states.0..typo"'),
        ((*STATE, "id"), "x" * 64, "may not be more than 63"),
        (("metadata", "name"), "a.b", "without dots"),
        (("spec", "scaling"), {"replicas": -1}, "replicas.*greater than or equal to 0"),
    ],
)
def test_bad_machine_is_refused_with_its_path(
    cluster: KubernetesCluster, namespace: str, path: Path, value: object, words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        create(cluster, namespace, changed((path, value)), "--dry-run=server", "--validate=strict")


def maximal() -> dict[str, Any]:
    """As large as the limits allow: 200 states with 16 transitions each, all ids 63 characters long."""

    def name(kind: str, number: int) -> str:
        return f"{kind}{number:03d}-".ljust(63, "x")

    states = [
        {
            "id": name("s", number),
            "isFinal": False,
            "businessStateId": name("b", number),
            "outputCommand": {"channel": name("c", number % 64), "label": "command"},
            "outgoingTransitions": [
                {
                    "inputEvent": name("e", event),
                    "targetState": name("s", (number - event - 1) % 200),
                    "businessEventId": name("v", 199 - event),
                }
                for event in range(16)
            ],
        }
        for number in range(200)
    ]
    return {
        **GOOD,
        "metadata": {"name": "m" * 63},
        "spec": {
            "machine": {
                "initialState": name("s", 199),
                "states": states,
                "businessStates": [{"id": name("b", number)} for number in range(200)],
                "businessEvents": [{"id": name("v", number)} for number in range(200)],
            },
            "channels": [
                {"id": name("c", number), "kafka": {"brokers": ["b:9092"], "outputTopics": ["t"]}}
                for number in range(64)
            ],
        },
    }


def test_machine_of_the_maximal_size_is_applied_changed_and_deleted(cluster: KubernetesCluster, namespace: str) -> None:
    document, options = maximal(), ("apply", "--server-side", "-n", namespace, "-f", "-")
    cluster.kubectl(*options, stdin=json.dumps(document))
    document["spec"]["machine"]["states"][199]["outgoingTransitions"][15]["targetState"] = "nowhere"
    with pytest.raises(KubectlError, match="every targetState must be the id of a state"):
        cluster.kubectl(*options, stdin=json.dumps(document))
    document["spec"]["machine"]["states"][199]["outgoingTransitions"][15]["targetState"] = "s000-".ljust(63, "x")
    cluster.kubectl(*options, stdin=json.dumps(document))
    cluster.kubectl("delete", "fm", "m" * 63, "-n", namespace, "--timeout=30s")


def test_what_is_free_or_unset_is_stored_as_it_was_given(cluster: KubernetesCluster, namespace: str) -> None:
    create(cluster, namespace, GOOD)

    stored = cluster.get("fm", "orders", "-n", namespace)

    assert stored["spec"] == GOOD["spec"]


def test_status_scale_and_columns(cluster: KubernetesCluster, namespace: str) -> None:
    create(cluster, namespace, GOOD)
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Running",
        "message": "2 of 2 engines are ready",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    status = {
        "conditions": [condition],
        "partitions": 4,
        "replicas": 2,
        "readyReplicas": 2,
        "selector": "a=b",
        "sagas": {"active": 17, "byState": {"created": 17}},
    }
    patch = ("patch", "fm", "orders", "-n", namespace, "--subresource=status", "--type=merge", "-p")
    cluster.kubectl(*patch, json.dumps({"status": status}))

    cluster.kubectl("wait", "--for=condition=Ready", "fm/orders", "-n", namespace, "--timeout=10s")
    heading, line = cluster.kubectl("get", "fm", "-n", namespace).splitlines()
    assert heading.split() == ["NAME", "STATE", "READY", "DESIRED", "PARTITIONS", "ACTIVE", "AGE"]
    assert line.split()[:-1] == ["orders", "Running", "2", "2", "4", "17"]
    assert "orders" in cluster.kubectl("get", "all", "-n", namespace)

    cluster.kubectl("scale", "fm/orders", "--replicas=3", "-n", namespace)
    scaled = cluster.get("fm", "orders", "-n", namespace)
    assert scaled["spec"]["scaling"] == {"replicas": 3}
    assert scaled["metadata"]["generation"] == 2
    assert scaled["status"] == status


def test_explain_reads_like_documentation(cluster: KubernetesCluster) -> None:
    text = cluster.kubectl("explain", "fm.spec.machine.states")
    assert "Whether a saga is finished once it is in this state." in text
    assert "secretKeyRef" in cluster.kubectl("explain", "fm.spec.channels.kafka.sasl.password")


def test_the_kustomize_example_is_taken(cluster: KubernetesCluster, namespace: str) -> None:
    kubectl = cluster.kubectl
    (built,) = yaml.safe_load_all(kubectl("kustomize", str(KUSTOMIZE / "production")))
    kafka = built["spec"]["channels"][0]["kafka"]
    assert (len(kafka["brokers"]), kafka["inputTopics"], built["metadata"]["namespace"]) == (3, ["shop-events"], "shop")
    built["metadata"]["namespace"] = namespace
    taken = json.loads(kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(built)))
    assert taken["spec"] == built["spec"], "no field is unknown to the API server, which would drop it"
    assert judge(taken).problems == ()
