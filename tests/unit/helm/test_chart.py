"""The chart: what it renders for which values, and which values it refuses."""

import tomllib
from dataclasses import fields
from typing import Any

import pytest
import yaml
from helm_python import Chart, HelmValuesError, lint

from flowmachine_operator.build.identity import MANAGER
from flowmachine_operator.settings import PREFIX, Settings, parse_settings
from tests.support.charts import CHART, NAMESPACE, RELEASE, Manifest, notes, of_kind, one, render

ROOT = CHART.parents[1]
DIGEST = f"sha256:{'a' * 64}"
# Every switch at least once; each is linted and rendered, and held against the rules below.
VARIANTS: dict[str, Manifest] = {
    "defaults": {},
    "some namespaces": {"watchNamespaces": ["shop", "billing"], "replicas": 1},
    "webhook with its own certificate": {"webhook": {"enabled": True}},
    "webhook with cert-manager": {"webhook": {"enabled": True, "certManager": {"enabled": True}}},
    "webhook with an issuer": {
        "webhook": {
            "enabled": True,
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"team": "shop"}},
            "certManager": {"enabled": True, "issuerRef": {"kind": "ClusterIssuer", "name": "ca"}},
        },
        "watchNamespaces": ["shop"],
    },
    "metrics": {"metrics": {"port": 9000, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "engines": {
        "engine": {
            "image": {"repository": "example.com/engine", "digest": DIGEST, "pullPolicy": "Always"},
            "imagePullSecrets": ["one", "two"],
            "labels": {"team": "shop", "example.com/cost": "42"},
            "networkPolicies": True,
            "podMonitors": True,
        }
    },
    "pods": {
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "example.com/flowmachine", "tag": "1.2.3", "pullPolicy": "Always"},
        "commonLabels": {"team": "platform"},
        "podLabels": {"sidecar": "no"},
        "podAnnotations": {"example.com/scrape": "yes"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control-plane", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "resources": {"limits": {"cpu": "1"}},
    },
    "nothing but the operator": {
        "crds": {"enabled": False},
        "rbac": {"create": False, "aggregateToDefaultRoles": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "podDisruptionBudget": {"enabled": False},
        "nameOverride": "fm",
    },
    "names": {"fullnameOverride": "operator-of-flowmachines", "serviceAccount": {"annotations": {"role": "none"}}},
}
EVERY_VARIANT = pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)


def environment(manifests: list[Manifest]) -> dict[str, str]:
    container = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {item["name"]: item.get("value", "from-a-field") for item in container["env"]}


def rules_file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "files/rules.yaml").read_text())
    return loaded


# --- Every variant ----------------------------------------------------------------------------------------------------


@EVERY_VARIANT
def test_lint_finds_nothing(values: Manifest) -> None:
    report = lint(CHART, values, strict=True, namespace=NAMESPACE)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@EVERY_VARIANT
def test_objects_are_named_labelled_and_in_the_right_namespace(values: Manifest) -> None:
    manifests = render(values)
    identities = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    assert len(set(identities)) == len(identities)
    for manifest in manifests:
        metadata = manifest["metadata"]
        assert metadata["labels"]["app.kubernetes.io/part-of"] == "flowmachine"
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert metadata["labels"].items() >= values.get("commonLabels", {}).items()
        is_cluster_wide = manifest["kind"].startswith(("Cluster", "CustomResource", "ValidatingWebhook"))
        allowed = {None} if is_cluster_wide else {NAMESPACE, *values.get("watchNamespaces", [])}
        assert metadata.get("namespace") in allowed


@EVERY_VARIANT
def test_operator_understands_its_settings(values: Manifest) -> None:
    manifests = render(values)
    settings = parse_settings(environment(manifests))
    assert list(settings.namespaces) == values.get("watchNamespaces", [])
    assert settings.namespace == NAMESPACE
    assert settings.http_port == values.get("metrics", {}).get("port", 8081)
    assert settings.webhook is values.get("webhook", {}).get("enabled", False)
    assert settings.webhook_service == one(manifests, "Service")["metadata"]["name"] or not settings.webhook


@EVERY_VARIANT
def test_pods_meet_the_restricted_standard(values: Manifest) -> None:
    manifests = render(values)
    for pod in (one(manifests, "Deployment")["spec"]["template"]["spec"], one(manifests, "Pod")["spec"]):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "hostNetwork" not in pod
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
        assert all({"emptyDir", "secret"} & set(volume) for volume in pod.get("volumes", []))


@EVERY_VARIANT
def test_service_and_budget_select_the_operators_pods_only(values: Manifest) -> None:
    manifests = render(values)
    deployment = one(manifests, "Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/name"] == MANAGER, "the engines' NetworkPolicies let pods of this name in"
    assert deployment["template"]["metadata"]["labels"].items() >= selector.items()
    assert one(manifests, "Service")["spec"]["selector"] == selector
    assert not one(manifests, "Pod")["metadata"]["labels"].items() >= selector.items()
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == selector


# --- Rights -----------------------------------------------------------------------------------------------------------


def test_all_namespaces_are_watched_by_a_cluster_role() -> None:
    manifests = render()
    (operator,) = [m for m in of_kind(manifests, "ClusterRole") if m["metadata"]["name"] == RELEASE]
    assert operator["rules"] == rules_file()["watched"]
    assert one(manifests, "ClusterRoleBinding")["subjects"][0]["name"] == RELEASE
    own = one(manifests, "Role")
    assert own["metadata"]["namespace"] == NAMESPACE
    assert own["rules"][1]["resourceNames"] == [environment(manifests)[f"{PREFIX}LEASE_NAME"]]


def test_some_namespaces_are_watched_by_roles_and_nothing_is_cluster_wide() -> None:
    manifests = render(VARIANTS["some namespaces"])
    roles = {m["metadata"]["namespace"]: m["rules"] for m in of_kind(manifests, "Role")}
    assert set(roles) == {NAMESPACE, "shop", "billing"}
    assert roles["shop"] == roles["billing"] == rules_file()["watched"]
    assert of_kind(manifests, "ClusterRoleBinding") == []
    # What remains is for people, and bound to nobody by us.
    assert all("aggregate-to" in str(m["metadata"]["labels"]) for m in of_kind(manifests, "ClusterRole"))


def test_rights_for_the_certificate_only_when_the_operator_makes_it() -> None:
    own = render(VARIANTS["webhook with its own certificate"])
    settings = environment(own)
    role, cluster_role = one(own, "Role"), of_kind(own, "ClusterRole")[0]
    assert role["rules"][-1]["resourceNames"] == [settings[f"{PREFIX}WEBHOOK_SECRET"]]
    assert cluster_role["rules"][-1]["resourceNames"] == [settings[f"{PREFIX}WEBHOOK_CONFIGURATION"]]
    assert one(own, "ValidatingWebhookConfiguration")["metadata"]["name"] == settings[f"{PREFIX}WEBHOOK_CONFIGURATION"]
    assert one(render(VARIANTS["webhook with cert-manager"]), "Role")["rules"] == one(render(), "Role")["rules"]


@EVERY_VARIANT
def test_no_name_is_left_open_in_the_rules(values: Manifest) -> None:
    assert "$(" not in str([m for m in render(values) if m["kind"].endswith("Role")])


# --- Single switches --------------------------------------------------------------------------------------------------


def test_crd_is_that_of_the_project_and_stays_at_an_uninstall() -> None:
    crds = of_kind(render(), "CustomResourceDefinition")
    assert {crd["metadata"]["name"] for crd in crds} == {"flowmachines.flowmachine.io", "sagas.flowmachine.io"}
    for crd in crds:
        assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        generated = yaml.safe_load((ROOT / f"crds/{crd['metadata']['name']}.yaml").read_text())
        assert crd["spec"] == generated["spec"]
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []


def test_cert_manager_keeps_the_certificate_that_the_pods_mount() -> None:
    manifests = render(VARIANTS["webhook with cert-manager"])
    certificate = one(manifests, "Certificate")
    assert f"{RELEASE}.{NAMESPACE}.svc" in certificate["spec"]["dnsNames"]
    assert certificate["spec"]["issuerRef"]["name"] == one(manifests, "Issuer")["metadata"]["name"]
    volumes = one(manifests, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"secretName": certificate["spec"]["secretName"]} in [volume.get("secret") for volume in volumes]
    injected = one(manifests, "ValidatingWebhookConfiguration")["metadata"]["annotations"]
    assert injected == {"cert-manager.io/inject-ca-from": f"{NAMESPACE}/{certificate['metadata']['name']}"}
    issued = render(VARIANTS["webhook with an issuer"])
    assert one(issued, "Certificate")["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "ca"}
    assert of_kind(issued, "Issuer") == []


@pytest.mark.parametrize(
    ("values", "operator", "engine"),
    [
        ({}, "flowmachine:0.1.0", "flowmachine:0.1.0"),
        ({"image": {"tag": "9"}}, "flowmachine:9", "flowmachine:9"),
        ({"image": {"tag": "9", "digest": DIGEST}}, f"flowmachine@{DIGEST}", f"flowmachine@{DIGEST}"),
        ({"engine": {"image": {"tag": "8"}}}, "flowmachine:0.1.0", "flowmachine:8"),
        ({"engine": {"image": {"repository": "mine", "tag": "8"}}}, "flowmachine:0.1.0", "mine:8"),
    ],
)
def test_images(values: Manifest, operator: str, engine: str) -> None:
    manifests = render(values)
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == operator
    assert environment(manifests)[f"{PREFIX}ENGINE_IMAGE"] == engine


def test_pods_get_what_the_values_say() -> None:
    values = VARIANTS["pods"]
    template = one(render(values), "Deployment")["spec"]["template"]
    pod = template["spec"]
    for name in ("imagePullSecrets", "priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert pod[name] == values[name]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread.items() >= values["topologySpreadConstraints"][0].items()
    assert spread["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == RELEASE
    assert pod["containers"][0]["env"][-1] == values["extraEnv"][0]
    assert template["metadata"]["labels"]["sidecar"] == "no"
    assert template["metadata"]["annotations"] == values["podAnnotations"]


def test_one_operator_has_no_budget_that_would_block_a_node() -> None:
    assert of_kind(render({"replicas": 1}), "PodDisruptionBudget") == []


def test_long_release_names_are_cut() -> None:
    manifests = render({}, name="r" * 53)  # the longest that Helm takes
    for kind in ("Service", "Deployment", "Pod"):
        assert len(one(manifests, kind)["metadata"]["name"]) <= 63


def test_notes_say_what_is_unusual() -> None:
    assert "all namespaces" in notes({})
    assert "shop, billing" in notes(VARIANTS["some namespaces"])
    assert "crds.enabled=false" in notes(VARIANTS["nothing but the operator"])
    assert "no FlowMachine can be applied" in notes(VARIANTS["webhook with an issuer"])


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"watchNamespaces": "shop"}, "watchNamespaces"),
        ({"watchNamespaces": ["Shop"]}, "watchNamespaces"),
        ({"webhook": {"failurePolicy": "Maybe"}}, "failurePolicy"),
        ({"webhook": {"port": 443}}, "port"),
        ({"webhook": {"certManager": {"issuerRef": {"kind": "Secret"}}}}, "kind"),
        ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "interval"),
        ({"log": {"level": "loud"}}, "level"),
        ({"tuning": {"leaseSeconds": 1}}, "leaseSeconds"),
        ({"engine": {"labels": {"team": "a,b=c"}}}, "team"),
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologySpreadConstraints"),
    ],
)
def test_wrong_value_is_refused_with_its_path(values: Manifest, path: str) -> None:
    with Chart.load(CHART) as chart, pytest.raises(HelmValuesError, match=path):
        chart.validate_schema(values)


def test_schema_and_values_name_the_same() -> None:
    with Chart.load(CHART) as chart:
        schema, values = chart.schema, chart.values
    assert schema is not None
    different: list[str] = []

    def compare(path: str, properties: Manifest, defaults: Manifest) -> None:
        different.extend(f"{path}{name}" for name in set(properties) ^ set(defaults))
        for name in set(properties) & set(defaults):
            inner = properties[name].get("properties")
            if inner and defaults[name]:  # empty: all of it is optional, as of `issuerRef`
                compare(f"{path}{name}.", inner, defaults[name])

    compare("", {k: v for k, v in schema["properties"].items() if k != "global"}, values)
    assert [name for name in different if name != "resources.claims"] == []


def test_every_setting_of_the_operator_is_set_or_left_to_it_on_purpose() -> None:
    names: set[str] = set()
    for values in VARIANTS.values():
        names |= environment(render(values)).keys()
    assert {f"{PREFIX}{item.name.upper()}" for item in fields(Settings)} - names == set()


def test_chart_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
