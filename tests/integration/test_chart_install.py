"""The chart against a real API server: it is accepted, upgraded and uninstalled. Nothing runs: there is no node."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helm_python import Chart, Config, HelmKubeError, HelmReleaseError

from dev.cluster import Kubectl
from dev.errors import KubectlError
from tests.support.charts import CHART, RELEASE
from tests.support.eventually import eventually
from tests.support.kubernetes import KubernetesCluster, foreign_kinds, start_test_cluster
from tests.support.orders import order_document

pytestmark = pytest.mark.kubernetes

_CRD = "flowmachines.flowmachine.io"
_KAFKA = {"kafka": {"brokers": ["kafka:9092"], "inputTopics": ["e"], "outputTopics": ["c"], "consumerGroup": "g"}}


@pytest.fixture(scope="module")
def kubernetes_cluster() -> Iterator[KubernetesCluster]:
    """A control plane for this module alone: the CRD comes and goes, and with it all FlowMachines of a cluster."""
    cluster = start_test_cluster()
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, cluster.layout.kubectl_cache)
    yield KubernetesCluster(cluster.kubeconfig, kubectl, cluster)
    cluster.close()


@pytest.fixture(scope="module")
def namespace(kubernetes_cluster: KubernetesCluster) -> str:
    """One for all tests, which enforces the Pod Security Standard `restricted`.

    An uninstallation leaves the CRDs, and a release of the same name and namespace takes them over: nobody has to
    delete them between the tests, for which an API server sometimes takes more than a minute.
    """
    name, kubectl = f"chart-{uuid.uuid4().hex[:8]}", kubernetes_cluster.kubectl
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    return name


@pytest.fixture
def release(kubernetes_cluster: KubernetesCluster, namespace: str) -> Iterator[Config]:
    """Helm at that namespace; what a test has installed is gone after it, but for the CRDs."""
    with Config(kubeconfig_path=kubernetes_cluster.kubeconfig, namespace=namespace) as config:
        yield config
        config.uninstall(RELEASE, ignore_not_found=True)


def _names(cluster: KubernetesCluster, kind: str, *options: str) -> list[str]:
    labelled = cluster.get(kind, f"--selector=app.kubernetes.io/instance={RELEASE}", *options)
    return [item["metadata"]["name"] for item in labelled["items"]]


async def test_install_upgrade_and_uninstall_keep_every_flowmachine(
    kubernetes_cluster: KubernetesCluster, namespace: str, release: Config
) -> None:
    cluster, kubectl = kubernetes_cluster, kubernetes_cluster.kubectl
    release.install(CHART, RELEASE, {"replicas": 2})
    kubectl("wait", "--for=condition=Established", f"crd/{_CRD}", "--timeout=30s")
    # Pods come out of the Deployment, so Pod Security has admitted them.
    await eventually(lambda: len(_names(cluster, "pods", "-n", namespace)) == 2, "two operators")
    before = order_document("orders", _KAFKA) | {"metadata": {"name": "orders", "namespace": namespace}}
    cluster.apply(before)

    values: dict[str, Any] = {"replicas": 3, "webhook": {"enabled": True}, "watchNamespaces": [namespace]}
    release.upgrade(CHART, RELEASE, values)
    await eventually(lambda: len(_names(cluster, "pods", "-n", namespace)) >= 3, "three operators")
    assert _names(cluster, "validatingwebhookconfigurations") == [RELEASE]
    assert _names(cluster, "clusterrolebindings") == [RELEASE]

    release.uninstall(RELEASE, wait="watcher")
    for kind in ("deployments", "services", "roles", "rolebindings", "serviceaccounts", "poddisruptionbudgets"):
        assert _names(cluster, kind, "-n", namespace) == [], kind
    for kind in ("clusterroles", "clusterrolebindings", "validatingwebhookconfigurations"):
        assert _names(cluster, kind) == [], kind
    assert cluster.get("fm", "orders", "-n", namespace)["spec"] == before["spec"]

    # The CRD that stayed is taken over by the next installation of the same name.
    release.install(CHART, RELEASE)
    assert cluster.get("crd", _CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == RELEASE


def test_upgrade_brings_a_changed_crd(kubernetes_cluster: KubernetesCluster, release: Config, tmp_path: Any) -> None:
    with Chart.load(CHART) as chart:
        older = chart.save_dir(tmp_path)
    file = tmp_path / "flowmachine/files/crds" / f"{_CRD}.yaml"
    crd = yaml.safe_load(file.read_text())
    version = crd["spec"]["versions"][0]
    version["additionalPrinterColumns"] = version["additionalPrinterColumns"][:1]
    file.write_text(yaml.safe_dump(crd))
    release.install(older, RELEASE)
    columns = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}"
    assert kubernetes_cluster.kubectl("get", "crd", _CRD, "-o", columns).split() == ["State"]
    release.upgrade(CHART, RELEASE)
    assert len(kubernetes_cluster.kubectl("get", "crd", _CRD, "-o", columns).split()) > 1


def test_rights_reach_the_watched_namespaces_and_no_other(
    kubernetes_cluster: KubernetesCluster, namespace: str, release: Config
) -> None:
    kubectl = kubernetes_cluster.kubectl
    other = f"other-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", other)
    try:
        release.install(CHART, RELEASE, {"watchNamespaces": [other]})
        account = f"--as=system:serviceaccount:{namespace}:{RELEASE}"

        def may(verb: str, resource: str, where: str) -> bool:
            try:
                return kubectl("auth", "can-i", verb, resource, "-n", where, account).strip() == "yes"
            except KubectlError:  # `no` comes with exit code 1
                return False

        assert may("patch", "flowmachines.flowmachine.io/status", other)
        assert may("create", "deployments.apps", other)
        assert may("create", "leases.coordination.k8s.io", namespace)
        assert not may("list", "flowmachines.flowmachine.io", namespace)
        assert not may("get", "secrets", namespace)
        assert not may("update", "flowmachines.flowmachine.io/spec", other)
    finally:
        kubectl("delete", "namespace", other, "--wait=false")


@pytest.mark.parametrize(
    ("values", "group", "kinds"),
    [
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "monitoring.coreos.com", ("ServiceMonitor",)),
        (
            {"webhook": {"enabled": True, "certManager": {"enabled": True}}},
            "cert-manager.io",
            ("Certificate", "Issuer"),
        ),
    ],
)
def test_kinds_of_others_are_needed_when_they_are_asked_for(
    kubernetes_cluster: KubernetesCluster,
    namespace: str,
    release: Config,
    values: dict[str, Any],
    group: str,
    kinds: tuple[str, ...],
) -> None:
    """Where they are missing the installation names them, instead of leaving something out."""
    with pytest.raises((HelmReleaseError, HelmKubeError), match="|".join(kinds)):
        release.install(CHART, RELEASE, values)
    release.uninstall(RELEASE, ignore_not_found=True)
    with foreign_kinds(kubernetes_cluster.kubectl, group, *kinds):
        release.install(CHART, RELEASE, values)
        for kind in kinds:
            assert len(_names(kubernetes_cluster, f"{kind.lower()}s.{group}", "-n", namespace)) == 1, kind
        release.uninstall(RELEASE)
        for kind in kinds:
            assert _names(kubernetes_cluster, f"{kind.lower()}s.{group}", "-n", namespace) == [], kind
