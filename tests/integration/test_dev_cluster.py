"""The development control plane and the helpers of tests/support/kubernetes.py, against real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from dev.cluster import Cluster, ClusterSettings
from dev.cluster.programs import PROGRAMS, find_programs, provision
from dev.cluster.state import load_state
from dev.errors import KubectlError, ProgramFailedError, ProvisionError, ToolMissingError
from dev.processes import identify
from dev.state_file import state_path
from tests.support.kubernetes import KubernetesCluster, mark_pods_ready, start_test_cluster

pytestmark = pytest.mark.kubernetes

_ROOT = Path(__file__).parents[2]
_CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager")
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


# --- The shared control plane and the helpers ----------------------------------------------------------------------


def test_control_plane_is_ready_and_of_the_version_of_the_module(kubernetes_cluster: KubernetesCluster) -> None:
    cluster = kubernetes_cluster.own_cluster()
    assert (cluster.is_ready(), cluster.running()) == (True, _CONTROL_PLANE)
    version = json.loads(cluster.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == version["clientVersion"]["gitVersion"] == find_programs().version


def test_config_map_is_applied_read_and_deleted(kubernetes_cluster: KubernetesCluster, namespace: str) -> None:
    kubernetes_cluster.apply(_config_map("orders", namespace, a="1"))
    assert kubernetes_cluster.get("configmap", "orders", "-n", namespace)["data"] == {"a": "1"}
    kubernetes_cluster.kubectl("delete", "configmap", "orders", "-n", namespace)
    with pytest.raises(KubectlError, match="NotFound"):
        kubernetes_cluster.get("configmap", "orders", "-n", namespace)


def test_python_client_reads_the_kubeconfig(kubernetes_cluster: KubernetesCluster, namespace: str) -> None:
    with config.new_client_from_config(str(kubernetes_cluster.kubeconfig)) as api:  # type: ignore[no-untyped-call]
        assert namespace in client.CoreV1Api(api).read_namespace(namespace).to_str()


def test_deployment_gets_pods_and_is_available_when_the_node_says_so(
    kubernetes_cluster: KubernetesCluster, namespace: str
) -> None:
    kubernetes_cluster.apply(_deployment("engine", namespace, replicas=2))

    def pods() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = kubernetes_cluster.get("pods", "-n", namespace, "--selector=app=engine")["items"]
        return found

    _eventually(lambda: len(pods()) == 2)
    assert {pod["status"]["phase"] for pod in pods()} == {"Pending"}
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in pods()} == {"ReplicaSet"}
    assert len(mark_pods_ready(kubernetes_cluster, namespace, "app=engine")) == 2
    kubernetes_cluster.kubectl("rollout", "status", "deployment/engine", "-n", namespace, "--timeout=30s")
    mark_pods_ready(kubernetes_cluster, namespace, is_ready=False)
    wait = ("wait", "--for=condition=Available=False", "deployment/engine", "-n", namespace, "--timeout=30s")
    kubernetes_cluster.kubectl(*wait)

    kubernetes_cluster.kubectl("delete", "pods", "--all", "-n", namespace)  # no node has to agree
    _eventually(lambda: [pod["status"]["phase"] for pod in pods()] == ["Pending"] * 2)


def test_service_account_may_do_only_what_a_role_allows(kubernetes_cluster: KubernetesCluster, namespace: str) -> None:
    kubectl = kubernetes_cluster.kubectl
    kubectl("create", "serviceaccount", "stranger", "-n", namespace)
    token = kubectl("create", "token", "stranger", "-n", namespace).strip()
    as_stranger = (f"--token={token}", "get", "configmaps", "-n", namespace)
    user = f"system:serviceaccount:{namespace}:stranger"
    with pytest.raises(KubectlError, match=f'User "{user}" cannot list resource "configmaps"'):
        kubectl(*as_stranger)
    with pytest.raises(KubectlError, match="Unauthorized"):
        kubectl("--token=invented", "get", "configmaps", "-n", namespace)

    kubectl(
        "create", "rolebinding", "view", "--clusterrole=view", f"--serviceaccount={namespace}:stranger", "-n", namespace
    )
    _eventually(
        lambda: kubectl("auth", "can-i", "list", "configmaps", "-n", namespace, f"--as={user}").startswith("yes")
    )
    assert "kube-root-ca.crt" in kubectl(*as_stranger)
    with pytest.raises(KubectlError, match="Forbidden"):
        kubectl(f"--token={token}", "get", "configmaps", "-n", "kube-system")


def test_admission_is_that_of_a_stock_cluster(kubernetes_cluster: KubernetesCluster, namespace: str) -> None:
    kubectl = kubernetes_cluster.kubectl
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    with pytest.raises(KubectlError, match='violates PodSecurity "restricted:latest"'):
        kubernetes_cluster.apply(_pod("root", namespace))

    webhook = _webhook_that_nobody_answers(namespace)
    kubernetes_cluster.apply(webhook)
    try:
        _eventually(lambda: _is_refused(kubernetes_cluster, namespace, 'failed calling webhook "nobody.example.com"'))
    finally:
        kubectl("delete", "validatingwebhookconfiguration", webhook["metadata"]["name"])


# --- Start, stop, faults -------------------------------------------------------------------------------------------


def test_data_and_address_outlive_crashes_and_an_ordered_stop(
    kubernetes_cluster: KubernetesCluster, tmp_path: Path
) -> None:
    kubernetes_cluster.own_cluster()
    cluster = start_test_cluster(ClusterSettings(data_dir=tmp_path / "cluster", scheduler=True))
    try:
        server, first_process = cluster.server, cluster.pid_of("kube-apiserver")
        cluster.kubectl("create", "configmap", "orders", "--from-literal=a=1")
        cluster.kill("kube-apiserver")
        cluster.kill("etcd")
        assert cluster.running() == ("kube-controller-manager", "kube-scheduler")
        assert not cluster.is_ready()
        cluster.start()
        assert cluster.pid_of("kube-apiserver") != first_process
        assert "orders" in cluster.kubectl("get", "configmaps")
        cluster.stop()
        assert cluster.running() == ()
        cluster.start()
        assert (cluster.is_ready(), cluster.server) == (True, server)
        assert "orders" in cluster.kubectl("get", "configmaps")
    finally:
        cluster.close()
    assert (tmp_path / "cluster" / "etcd").is_dir()


def test_program_that_ends_at_once_says_why_and_leaves_nothing(kubernetes_cluster: KubernetesCluster) -> None:
    kubernetes_cluster.own_cluster()
    cluster = Cluster(ClusterSettings(api_server_flags=("--no-such-flag",)))
    with pytest.raises(ProgramFailedError, match=r"kube-apiserver ended while it started\. It does not know one of"):
        cluster.__enter__()
    assert cluster.running() == ()
    assert not cluster.data_dir.exists()


def test_programs_end_with_a_test_run_that_is_killed(kubernetes_cluster: KubernetesCluster) -> None:
    kubernetes_cluster.own_cluster()
    script = (
        "import time; from dev.cluster import Cluster\n"
        "cluster = Cluster(); cluster.start()\n"
        "print(cluster.data_dir, *map(cluster.pid_of, cluster.components), flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        data_dir, *pids = run.stdout.readline().split()
        identities = [identify(int(pid)) for pid in pids]
        run.kill()
    assert len(identities) == len(_CONTROL_PLANE)
    assert None not in identities
    _eventually(lambda: not Path(data_dir).exists())
    assert [identity for pid, identity in zip(pids, identities, strict=True) if identify(int(pid)) == identity] == []


# --- Commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run_command(tmp_path: Path, kubernetes_cluster: KubernetesCluster) -> Iterator[RunCommand]:
    """Run `python -m dev.cluster COMMAND` on a folder of the test's own; the session's cluster has filled the cache."""
    kubernetes_cluster.own_cluster()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dev.cluster", *arguments, "--data-dir", str(tmp_path / "cluster")],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    run("down")


def test_up_status_kubeconfig_and_down(
    run_command: RunCommand, tmp_path: Path, kubernetes_cluster: KubernetesCluster
) -> None:
    first, second, status = run_command("up"), run_command("up"), run_command("status")
    assert (first.returncode, second.returncode, status.returncode) == (0, 0, 0), first.stderr
    assert "Kubernetes is already running." in second.stdout
    other = run_command("up", "--scheduler")
    assert (other.returncode, "runs with other options" in other.stderr) == (1, True)
    kubeconfig = Path(run_command("kubeconfig").stdout.strip())
    assert kubeconfig.stat().st_mode & 0o077 == 0
    kubectl = [kubernetes_cluster.own_cluster().kubectl_program, f"--kubeconfig={kubeconfig}", "get", "namespaces"]
    assert "kube-system" in subprocess.run(kubectl, check=True, capture_output=True, text=True).stdout

    state = load_state(tmp_path / "cluster")
    assert state is not None
    os.kill(state.processes["kube-apiserver"].pid, signal.SIGKILL)
    _eventually(lambda: run_command("status").returncode == 1)
    again = run_command("up")
    assert (again.returncode, "Ready after" in again.stdout) == (0, True), again.stderr

    down = run_command("down")
    assert (down.returncode, f"Stopped {', '.join(_CONTROL_PLANE)}." in down.stdout) == (0, True)
    assert not (tmp_path / "cluster").exists()
    assert "nothing to do" in run_command("down").stdout
    assert run_command("kubeconfig").returncode == 1


def test_down_leaves_processes_and_files_that_are_not_its_own(
    run_command: RunCommand, tmp_path: Path, kubernetes_cluster: KubernetesCluster
) -> None:
    session = kubernetes_cluster.own_cluster()
    data_dir = tmp_path / "cluster"
    data_dir.mkdir()
    (data_dir / "precious.txt").write_text("mine")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        identity = identify(bystander.pid)
        assert identity is not None
        # A state file left by a crash: one process id now belongs to somebody else, the other programs to a neighbour.
        plain = json.loads(state_path(session.data_dir).read_text())
        plain["processes"]["etcd"] = {"pid": identity.pid, "started": identity.started}
        state_path(data_dir).write_text(json.dumps(plain))
        down = run_command("down")
        assert (down.returncode, "Nothing was running." in down.stdout) == (0, True), down.stderr
        assert bystander.poll() is None
        bystander.kill()
    assert [path.name for path in data_dir.iterdir()] == ["precious.txt"]
    assert session.is_ready()


# --- What is missing -----------------------------------------------------------------------------------------------


def test_missing_go_is_named_only_when_something_must_be_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ToolMissingError, match=r"No `go` on PATH.*install Go 1\.26 or newer"):
        provision()
    find_programs().folder.mkdir(parents=True)
    assert provision() == find_programs()


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ("main.go:7:2: no such host", ProvisionError, "no such host"),
        ("go: go.mod requires go >= 1.26.0 (running go 1.22.1)", ToolMissingError, "Go is too old"),
    ],
)
def test_failing_go_leaves_no_half_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, error: type[Exception], match: str
) -> None:
    _write_go(tmp_path, f"echo '{words}'\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(error, match=match):
        provision()
    assert [path.name for path in find_programs().folder.parent.iterdir() if path.is_dir()] == []


def test_build_ends_with_a_link_for_each_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _write_go(tmp_path, 'while [ $# -gt 0 ]; do [ "$1" = -o ] && touch "$2"; shift; done\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []
    programs = provision(said.append)
    assert all(Path(programs.path(name)).exists() for name in PROGRAMS)
    assert "Building Kubernetes" in said[0]
    (tmp_path / "go").unlink()
    assert provision(said.append) == programs


def _write_go(folder: Path, script: str) -> None:
    (folder / "go").write_text(f"#!/bin/sh\n{script}")
    (folder / "go").chmod(0o755)


def _config_map(name: str, namespace: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _pod(name: str, namespace: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    spec = {"containers": [{"name": "main", "image": "example.com/engine:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _deployment(name: str, namespace: str, *, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _pod(name, namespace)["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def _webhook_that_nobody_answers(namespace: str) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    webhook = {
        "name": "nobody.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/validate"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": f"nobody-{namespace}"},
        "webhooks": [webhook],
    }


def _is_refused(cluster: KubernetesCluster, namespace: str, reason: str) -> bool:
    name = f"refused-{time.monotonic_ns()}"
    try:
        cluster.kubectl("create", "configmap", name, "-n", namespace)
    except KubectlError as error:
        return reason in str(error)
    return False


def _eventually(condition: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.05)
