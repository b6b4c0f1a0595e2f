"""A real API server for test suites: fixtures, and a way to play the node that is not there.

Fixtures (re-export them from tests/conftest.py, or name this module in `pytest_plugins`):

kubernetes_cluster  a control plane for the whole session, or the cluster that KUBECONFIG names
namespace           a namespace of the test's own

There is no node: pods are created and accepted, stay Pending, and are gone at once when deleted. `mark_pods_ready` says
what a node would say. Without Go or openssl the tests are skipped with a sentence that says what to install. The build
that a first run needs takes place after collection, where no test's timeout counts.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster, ClusterSettings, Kubectl
from dev.cluster.programs import provision
from dev.crds.generate import SAGA_TARGET, TARGET
from dev.errors import DevError, KubectlError, ToolMissingError
from tests.support.tools import skipped_without_tools

KUBECONFIG_VARIABLE = "KUBECONFIG"
SYSTEM = "flowmachine-system"
"""The namespace of the operator and its service accounts."""

_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


@dataclass(frozen=True, slots=True)
class KubernetesCluster:
    """The cluster of a session, seen by its administrator; `cluster` is None when KUBECONFIG named it.

    `kubectl("get", "pods", ...)` runs a command and returns what it printed.
    """

    kubeconfig: Path
    kubectl: Kubectl
    cluster: Cluster | None
    audit_log: Path | None = None
    """What service accounts of the namespace SYSTEM have asked for, one JSON document a line."""

    def own_cluster(self) -> Cluster:
        """Return the control plane behind it, or skip the test if it is not ours."""
        if self.cluster is None:
            pytest.skip(f"needs a control plane of our own, not the one of {KUBECONFIG_VARIABLE}")
        return self.cluster

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what `kubectl get` finds, e.g. `get("deployment", "engine", "-n", namespace)`, as a dict."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply manifests on the server's side."""
        documents = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(documents))


CRD_FILES = (TARGET, SAGA_TARGET)
CRD_NAMES = tuple(file.stem for file in CRD_FILES)


def install_crds(kubectl: Kubectl) -> None:
    """FlowMachine and Saga are there and served."""
    for file in CRD_FILES:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))
        kubectl("wait", "--for=condition=Established", f"crd/{file.stem}", "--timeout=60s")


# --- Fixtures ----------------------------------------------------------------------------------------------------


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the programs before the first test, since the cold build takes longer than any test may."""
    uses_cluster = any("kubernetes_cluster" in getattr(item, "fixturenames", ()) for item in session.items)
    if not uses_cluster or session.config.option.collectonly or os.environ.get(KUBECONFIG_VARIABLE):
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    try:
        provision(terminal.write_line if terminal is not None else lambda _line: None)
    except DevError as error:
        session.config.stash[_PROVISION_ERROR] = error


_PROVISION_ERROR = pytest.StashKey[DevError]()


def start_test_cluster(settings: ClusterSettings | None = None) -> Cluster:
    """Start a control plane of the test's own, by default in a temporary folder; the caller closes it.

    Skips the test when Go or openssl are missing.
    """
    cluster = Cluster(settings)
    try:
        with skipped_without_tools(f"Or name a cluster in {KUBECONFIG_VARIABLE}."):
            cluster.start()
    except BaseException:
        cluster.close()
        raise
    return cluster


def find_session_cluster(folder: Path) -> KubernetesCluster | None:
    """Return the cluster that KUBECONFIG names; None when it names none, a failed test when it is silent.

    The configuration is copied into the folder: KUBECONFIG may list several files.
    """
    named = os.environ.get(KUBECONFIG_VARIABLE)
    if not named:
        return None
    program = shutil.which("kubectl") or provision().path("kubectl")
    view = [program, "config", "view", "--raw", "--flatten", "--minify"]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubectl = Kubectl(program, kubeconfig, folder / "kubectl-cache")
    try:
        kubeconfig.write_bytes(subprocess.run(view, check=True, capture_output=True).stdout)
        kubectl("get", "--raw", "/readyz")
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{KUBECONFIG_VARIABLE}={named} cannot be read: {error.stderr.decode()}", pytrace=False)
    except KubectlError as error:
        pytest.fail(f"{KUBECONFIG_VARIABLE}={named} names no cluster that answers: {error}", pytrace=False)
    return KubernetesCluster(kubeconfig, kubectl, None)


@pytest.fixture(scope="session")
def kubernetes_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesCluster]:
    """One control plane for all tests of the session."""
    folder = tmp_path_factory.mktemp("kubernetes")
    named = find_session_cluster(folder)
    if named is not None:
        yield named
        return
    failed = request.config.stash.get(_PROVISION_ERROR, None)
    if failed is not None and not isinstance(failed, ToolMissingError):
        pytest.fail(str(failed), pytrace=False)  # a second build would end like the first
    audit_log = folder / "audit.log"
    cluster = start_test_cluster(ClusterSettings(api_server_flags=_strict_flags(folder / "audit.yaml", audit_log)))
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, cluster.layout.kubectl_cache)
    yield KubernetesCluster(cluster.kubeconfig, kubectl, cluster, audit_log)
    cluster.close()


def _strict_flags(policy: Path, log: Path) -> tuple[str, ...]:
    """The API server keeps account of what the operator does, and protects owners from being blocked, as some do."""
    rules = [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{SYSTEM}"]}, {"level": "None"}]
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
    policy.write_text(json.dumps(document), "utf-8")
    return (
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
    )


@pytest.fixture
def namespace(kubernetes_cluster: KubernetesCluster) -> Iterator[str]:
    """The name of a namespace in which pods can be created; its end is not waited for."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    kubectl = kubernetes_cluster.kubectl
    kubectl("create", "namespace", name)
    try:
        kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def foreign_kinds(kubectl: Kubectl, group: str, *kinds: str, version: str = "v1") -> Iterator[None]:
    """Kinds of somebody else's operator exist until the block ends, for all that the API server can tell."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = [f"{kind.lower()}s.{group}" for kind in kinds]
    documents = [
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": group,
                "names": {"kind": kind, "plural": f"{kind.lower()}s"},
                "scope": "Namespaced",
                "versions": [served],
            },
        }
        for kind, name in zip(kinds, names, strict=True)
    ]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    try:
        kubectl("wait", "--for=condition=Established", "crd", *names, "--timeout=30s")
        yield
    finally:
        kubectl("delete", "crd", *names)


# --- The node that is not there ----------------------------------------------------------------------------------


def mark_pods_ready(
    cluster: KubernetesCluster, namespace: str, selector: str = "", *, is_ready: bool = True
) -> list[str]:
    """Report the pods of a namespace as running and ready (or not ready), and return their names.

    Pods that are being deleted are left alone. A pod gets no address: what needs one has to patch `podIP` itself.
    """
    pods = cluster.get("pods", "-n", namespace, f"--selector={selector}")["items"]
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    for pod in living:
        patch = json.dumps({"status": build_running_status(pod, is_ready=is_ready)})
        options = ("--subresource=status", "--type=merge", "-p", patch)
        cluster.kubectl("patch", "pod", pod["metadata"]["name"], "-n", namespace, *options)
    return [pod["metadata"]["name"] for pod in living]


def build_running_status(pod: dict[str, Any], *, is_ready: bool) -> dict[str, Any]:
    """Return the status that a kubelet reports for a pod that runs."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    word = "True" if is_ready else "False"
    return {
        "phase": "Running",
        "startTime": now,
        "conditions": [
            {"type": kind, "status": word if kind.endswith("Ready") else "True", "lastTransitionTime": now}
            for kind in _CONDITIONS
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": is_ready,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }
