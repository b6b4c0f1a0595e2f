"""Children of a FlowMachine: no literal secret where it does not belong, names that fit, overrides that merge."""

import base64
import json
from typing import Any, cast

import pytest

from flowmachine.config.load import load_document, load_text
from flowmachine.config.resource import FlowMachine
from flowmachine.errors import ConfigurationError
from flowmachine_operator.build.config_map import build_config_map
from flowmachine_operator.build.deployment import build_deployment
from flowmachine_operator.build.document import build_document
from flowmachine_operator.build.identity import child_name, data_key, format_selector
from flowmachine_operator.build.network_policy import build_network_policy
from flowmachine_operator.build.pod_disruption_budget import build_pod_disruption_budget
from flowmachine_operator.build.role import build_role, build_role_binding
from flowmachine_operator.build.secret import build_secret
from flowmachine_operator.build.service import build_service
from flowmachine_operator.build.service_account import build_service_account
from flowmachine_operator.build.subject import EngineDefaults, Subject
from flowmachine_operator.build.template import check_template, merge

LITERALS = ("user-literal", "password-literal", "pem-literal", "header-literal", "mongodb://u:p@db", "note-literal")


def document(name: str = "orders", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"last-applied": "note-literal"}},
        "spec": {
            "machine": {
                "initialState": "a",
                "states": [
                    {
                        "id": "a",
                        "isFinal": True,
                        "businessStateId": 1,
                        "outputCommand": {"channel": "kafka", "label": "go"},
                    }
                ],
                "businessStates": [{"id": 1}],
            },
            "channels": [
                {
                    "id": "kafka",
                    "kafka": {
                        "brokers": {"secretKeyRef": {"name": "kafka.eu", "key": "brokers"}},
                        "outputTopics": ["commands"],
                        "tls": {"ca": "pem-literal"},
                        "sasl": {
                            "mechanism": "plain",
                            "username": "user-literal",
                            "password": "password-literal",
                        },
                    },
                },
                {
                    "id": "rest",
                    "rest": {
                        "host": "h",
                        "headers": {
                            "X!Key": "header-literal",
                            "X-Ref": {"secretKeyRef": {"name": "api", "key": "k"}},
                            "X-File": {"file": "/somewhere"},
                        },
                    },
                },
            ],
            "persistence": {
                "type": "rest",
                "configurations": {
                    "endpoint": "h1",
                    "port": 5,
                    "headers": {
                        "X-Uri": "mongodb://u:p@db",
                        "X-User": {"secretKeyRef": {"name": "api", "key": "user"}},
                    },
                    "tls": {"ca": {"file": "/ca"}},
                },
            },
            **spec,
        },
    }


def load(value: dict[str, Any]) -> FlowMachine:
    return load_document(value, "test")


def subject_of(name: str = "orders", **spec: object) -> Subject:
    return Subject(load(document(name, **spec)), "uid-1", EngineDefaults("registry/flowmachine:1"))


def deployment_of(subject: Subject, replicas: int = 3, versions: dict[str, str] | None = None) -> Any:
    return build_deployment(subject, build_document(subject), replicas=replicas, secret_versions=versions or {})


def pod_of(**template: object) -> Any:
    return deployment_of(subject_of(template=template))["spec"]["template"]


def all_children(subject: Subject) -> list[Any]:
    engine_document = build_document(subject)
    return [
        build_config_map(subject, engine_document),
        build_secret(subject, engine_document),
        deployment_of(subject),
        build_service(subject),
        build_service_account(subject),
        build_pod_disruption_budget(subject),
        build_network_policy(subject, "flowmachine-system", is_enabled=True),
    ]


# --- Secrets -----------------------------------------------------------------------------------------------------


def test_literals_are_in_the_secret_and_nowhere_else() -> None:
    subject = subject_of(template={"annotations": {"a": "b"}})
    secret = cast("Any", build_secret(subject, build_document(subject)))
    others = json.dumps([child for child in all_children(subject) if child["kind"] != "Secret"])

    assert [literal for literal in LITERALS if literal in others] == []
    values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert {literal for literal in LITERALS if literal != "note-literal"} | {"h1"} == set(values.values())
    assert values["channels.0.kafka.sasl.password"] == "password-literal"


def test_engines_load_the_document_and_find_every_secret_where_it_is_mounted() -> None:
    subject = subject_of()
    engine_document = build_document(subject)
    config_map = cast("Any", build_config_map(subject, engine_document))

    loaded = load_text(config_map["data"]["flowmachine.json"], "config map")

    assert loaded.metadata.namespace == "shop", "topics are named after it"
    assert loaded.spec.machine == subject.resource.spec.machine
    sasl = cast("Any", loaded.spec.channels[0].kafka).sasl
    reference = sasl.password.secret_key_ref
    assert (reference.name, reference.key) == ("fm-orders-literals", "channels.0.kafka.sasl.password")
    assert loaded.spec.persistence.configurations["port"] == 5
    assert loaded.spec.persistence.configurations["tls"] == {"ca": {"file": "/ca"}}
    pod = deployment_of(subject)["spec"]["template"]["spec"]
    sources = next(volume for volume in pod["volumes"] if volume["name"] == "secrets")["projected"]["sources"]
    paths = {item["path"] for source in sources for item in source["secret"]["items"]}
    assert paths == {f"{name}/{key}" for name, key in engine_document.mounted}
    assert {"kafka.eu/brokers", "api/k", "api/user", "fm-orders-literals/channels.0.kafka.sasl.password"} <= paths
    assert engine_document.secret_names == {"kafka.eu", "api", "fm-orders-literals"}


def test_no_literals_no_secret() -> None:
    value = document(persistence={"type": "none"}, channels=[{"id": "kafka", "kafka": KAFKA}])
    subject = Subject(load(value), "uid", EngineDefaults("i"))

    assert build_secret(subject, build_document(subject)) is None
    names = {volume["name"] for volume in deployment_of(subject)["spec"]["template"]["spec"]["volumes"]}
    assert names == {"config", "tmp"}


KAFKA = {"brokers": ["b:9092"], "outputTopics": ["t"]}


def test_pods_start_anew_when_a_secret_changes_and_only_then() -> None:
    subject = subject_of()
    first, same, other = (
        deployment_of(subject, versions={"api": version, "foreign": str(count)})
        for count, version in enumerate(("1", "1", "2"))
    )

    assert first == same
    assert first["spec"]["template"] != other["spec"]["template"]


# --- Revisions ---------------------------------------------------------------------------------------------------


def test_config_map_is_another_one_only_when_engines_read_something_else() -> None:
    def name_of(**spec: object) -> str:
        subject = subject_of(**spec)
        return cast("Any", build_config_map(subject, build_document(subject)))["metadata"]["name"]

    assert name_of() == name_of(scaling={"replicas": 1}, template={"image": "other"})
    assert name_of() != name_of(settings={"sagaIdPrefix": "x-"})


def test_config_map_is_immutable_and_the_deployment_mounts_it() -> None:
    subject = subject_of()
    config_map = cast("Any", build_config_map(subject, build_document(subject)))
    pod = deployment_of(subject)["spec"]["template"]

    assert config_map["immutable"] is True
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == config_map["metadata"]["name"]
    revision = config_map["metadata"]["labels"]["flowmachine.io/revision"]
    assert pod["metadata"]["labels"]["flowmachine.io/revision"] == revision


def test_document_that_no_config_map_holds_is_refused() -> None:
    value = document()
    schema = {"description": "x" * 1_100_000}
    value["spec"]["machine"]["states"][0] |= {
        "isFinal": False,
        "outgoingTransitions": [{"inputEvent": "e", "targetState": "a", "payloadValidationSchema": schema}],
    }
    subject = Subject(load(value), "uid", EngineDefaults("i"))

    with pytest.raises(ConfigurationError, match="a ConfigMap takes 1048576"):
        build_config_map(subject, build_document(subject))


# --- Identity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["orders", "9" * 63, "m" * 63])
def test_names_fit_and_labels_find_the_pods(name: str) -> None:
    subject = subject_of(name)
    children = all_children(subject)

    for child in children:
        metadata = child["metadata"]
        assert metadata["name"].startswith("fm-")
        assert len(metadata["name"]) <= (253 if child["kind"] == "ConfigMap" else 63)
        assert metadata["namespace"] == "shop"
        assert metadata["ownerReferences"][0]["uid"] == "uid-1"
        assert all(len(value) <= 63 for value in metadata["labels"].values())
    assert len({(child["kind"], child["metadata"]["name"]) for child in children}) == len(children)
    selector = children[3]["spec"]["selector"]
    assert selector.items() <= children[2]["spec"]["template"]["metadata"]["labels"].items()
    assert format_selector(subject.name) == ",".join(f"{key}={selector[key]}" for key in sorted(selector))


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert child_name(subject_of("m" * 62 + "a")) != child_name(subject_of("m" * 62 + "b"))


def test_keys_stay_apart_and_within_the_limit() -> None:
    keys = [data_key(text) for text in ("a.b", "a!b", "a?b", "k" * 300, "k" * 301)]

    assert len(set(keys)) == len(keys)
    assert keys[0] == "a.b"
    assert max(map(len, keys)) <= 253


# --- Deployment and the others -----------------------------------------------------------------------------------


def test_deployment_never_runs_one_engine_too_many() -> None:
    spec = deployment_of(subject_of(), replicas=5)["spec"]

    assert spec["replicas"] == 5
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_pod_meets_the_restricted_standard() -> None:
    spec = pod_of()["spec"]
    container = spec["containers"][0]

    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False
    assert set().union(*spec["volumes"]) <= {"name", "configMap", "emptyDir", "projected"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/-/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/-/healthz"
    assert "--advertise=$(POD_IP):8080" in container["args"]


def test_machine_without_kafka_has_no_deployment() -> None:
    value = document(persistence={"type": "none"}, channels=[{"id": "kafka", "rest": {"host": "h"}}])

    assert deployment_of(Subject(load(value), "uid", EngineDefaults("i"))) is None


def test_operator_defaults_reach_the_pod() -> None:
    defaults = EngineDefaults("i", "Always", ("pull",), {"team": "a", "app.kubernetes.io/name": "hijacked"})
    pod = deployment_of(Subject(load(document()), "uid", defaults))["spec"]["template"]

    assert pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "flowmachine"


def test_network_policy_only_when_asked_for() -> None:
    assert build_network_policy(subject_of(), "flowmachine-system", is_enabled=False) is None


def test_network_policy_lets_the_operator_count_sagas() -> None:
    """It asks the engines themselves, from another namespace."""
    policy = cast("Any", build_network_policy(subject_of(), "flowmachine-system", is_enabled=True))
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert rule["from"] == [
        {"podSelector": {}},
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "flowmachine-system"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "flowmachine-operator"}},
        },
    ]


def test_named_service_account_is_not_made() -> None:
    assert build_service_account(subject_of(template={"serviceAccountName": "mine"})) is None
    assert pod_of(serviceAccountName="mine")["spec"]["serviceAccountName"] == "mine"


# --- Template ----------------------------------------------------------------------------------------------------


def test_template_changes_what_it_names() -> None:
    pod = pod_of(
        image="mine:2",
        resources={"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}},
        env=[{"name": "LOG_LEVEL", "value": "debug"}, {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel"}],
        envFrom=[{"configMapRef": {"name": "opentelemetry"}}],
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "k", "operator": "Exists"}],
        affinity={"nodeAffinity": {}},
        securityContext={"runAsUser": 5},
        volumes=[{"name": "extra", "emptyDir": {}}, {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        containers=[{"name": "sidecar", "image": "s"}],
        topologySpreadConstraints=[{"topologyKey": "kubernetes.io/hostname", "maxSkew": 2}],
        terminationGracePeriodSeconds=90,
        labels={"team": "a", "app.kubernetes.io/name": "hijacked"},
        annotations={"note": "x", "flowmachine.io/secrets": "0"},
    )
    spec, engine = pod["spec"], pod["spec"]["containers"][0]

    assert engine["image"] == "mine:2"
    assert engine["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1", "memory": "256Mi"}}
    assert [entry["name"] for entry in engine["env"]] == [
        "POD_IP",
        "LOG_LEVEL",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ]
    assert engine["envFrom"] == [{"configMapRef": {"name": "opentelemetry"}}]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 5
    assert {volume["name"] for volume in spec["volumes"]} == {"config", "secrets", "tmp", "extra"}
    assert [container["name"] for container in spec["containers"]] == ["engine", "sidecar"]
    assert len(spec["topologySpreadConstraints"]) == 1
    assert spec["topologySpreadConstraints"][0]["maxSkew"] == 2
    assert (spec["nodeSelector"], spec["terminationGracePeriodSeconds"]) == ({"disk": "ssd"}, 90)
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "flowmachine", "the selector must find the pod"
    assert pod["metadata"]["annotations"]["note"] == "x"
    assert pod["metadata"]["annotations"]["flowmachine.io/secrets"] != "0"


def test_null_removes_and_nothing_given_is_changed() -> None:
    base: dict[str, object] = {"a": {"b": 1, "c": 2}, "env": [{"name": "x", "value": "1"}], "list": [1]}
    before = json.dumps(base)

    merged = merge(base, {"a": {"b": None}, "env": [{"name": "x", "value": "2"}, {"name": "y"}], "list": [2]})

    assert merged == {"a": {"c": 2}, "env": [{"name": "x", "value": "2"}, {"name": "y"}], "list": [2]}
    assert json.dumps(base) == before


@pytest.mark.parametrize(
    ("template", "path", "words"),
    [
        ({"resource": {}}, "spec.template.resource", "did you mean 'resources'?"),
        ({"zzz": 1}, "spec.template.zzz", "'zzz' cannot be set here"),
        ({"env": {"A": "1"}}, "spec.template.env", "a list of mappings, each with 'name'"),
        ({"volumes": [{"emptyDir": {}}]}, "spec.template.volumes", "each with 'name'"),
        ({"labels": "a=b"}, "spec.template.labels", "must be a mapping"),
        ({"env": [{"name": "POD_IP"}]}, "spec.template.env", "'POD_IP' is the operator's own"),
        ({"containers": [{"name": "engine"}]}, "spec.template.containers", "the operator's own"),
    ],
)
def test_template_is_checked(template: dict[str, object], path: str, words: str) -> None:
    (problem,) = check_template(template)

    assert problem.path == path
    assert words in problem.message


def test_good_template_has_no_problems() -> None:
    assert check_template({"image": "i", "env": [{"name": "A"}], "labels": None, "nodeSelector": {"a": "b"}}) == ()


def test_children_are_the_same_for_the_same_machine() -> None:
    assert all_children(subject_of()) == all_children(subject_of())


def test_engines_have_no_right_unless_their_store_is_kubernetes() -> None:
    for kind in ("none", "mongo"):
        subject = subject_of(
            persistence={"type": kind, "configurations": {"connectionUri": "u", "collectionName": "c"}}
        )
        assert (build_role(subject), build_role_binding(subject)) == (None, None)
        assert _pod_of(subject)["automountServiceAccountToken"] is False


def test_store_kubernetes_gets_the_rights_that_it_uses_and_a_token() -> None:
    subject = subject_of(persistence={"type": "kubernetes"})
    role, binding = build_role(subject), build_role_binding(subject)
    assert role is not None
    assert binding is not None
    granted = {
        (resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in cast("list[dict[str, Any]]", role["rules"])
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    sagas = {("sagas", verb, ()) for verb in ("get", "list", "create", "patch", "delete")}
    assert granted == {("flowmachines", "get", ("orders",)), ("sagas/status", "patch", ()), *sagas}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "fm-orders", "namespace": "shop"}]
    assert _pod_of(subject)["automountServiceAccountToken"] is True


def test_rights_go_to_the_account_that_the_template_names() -> None:
    subject = subject_of(persistence={"type": "kubernetes"}, template={"serviceAccountName": "mine"})
    binding = build_role_binding(subject)
    assert binding is not None
    assert cast("list[dict[str, Any]]", binding["subjects"])[0]["name"] == "mine"


def _pod_of(subject: Subject) -> dict[str, Any]:
    deployment = build_deployment(subject, build_document(subject), replicas=1, secret_versions={})
    assert deployment is not None
    spec = cast("dict[str, Any]", deployment["spec"])
    return cast("dict[str, Any]", spec["template"]["spec"])
