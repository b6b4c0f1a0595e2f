"""On a machine without the tools the suites are skipped, with a sentence that says what to install; in CI they fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev.cluster.programs import find_programs
from tests.support.kubernetes import KubernetesCluster
from tests.support.probe_pod import find_trouble

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("tests/e2e", "tests/contract", "tests/conformance", "tests/faults", "tests/integration")
REAL_PARTS = "kafka or kubernetes or e2e"
NODE_TESTS = 6  # in tests/e2e and test_dev_node.py
_BASIC = ("bash", "env", "openssl", "sh", "touch")
_UNSET = ("CI", "FLOWMACHINE_TEST_KAFKA_BOOTSTRAP", "JAVA_HOME", "KUBECONFIG")


def run_pytest(folder: Path, *suites: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """With a PATH that has next to nothing, and a cache folder that has what the test put there."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    for name in _BASIC:
        if (found := shutil.which(name)) and not (path / name).exists():
            (path / name).symlink_to(found)
    environment = {name: value for name, value in os.environ.items() if name not in _UNSET}
    environment |= {"PATH": str(path), "XDG_CACHE_HOME": str(folder / "cache"), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}"]
    return subprocess.run([*command, *suites], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_every_suite_is_skipped_and_says_why(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, *SUITES, f"--ignore={__file__}", "-m", REAL_PARTS)
    assert done.returncode == 0, done.stdout
    for sentence in (
        "No `java` on PATH",
        "No `go` on PATH, and Kubernetes",
        "A node needs root" if os.geteuid() != 0 else "No `go` on PATH, needed for the pause image: install Go",
    ):
        assert sentence in done.stdout, done.stdout


@pytest.mark.kubernetes
def test_what_was_built_before_is_not_enough_for_a_node(tmp_path: Path) -> None:
    """Kubernetes is in the cache, the image that every pod begins with is not, and there is no Go to make it."""
    built = find_programs().folder
    if not built.is_dir():
        pytest.skip("Kubernetes is not built yet: run a test that needs it first")
    (tmp_path / "cache/flowmachine").mkdir(parents=True)
    (tmp_path / "cache/flowmachine" / built.name).symlink_to(built)
    done = run_pytest(tmp_path, "tests/e2e", "tests/integration/test_dev_node.py")
    assert done.returncode == 0, done.stdout
    assert f"{NODE_TESTS} skipped" in done.stdout


@pytest.mark.kubernetes
def test_cluster_of_the_user_without_a_node_is_told(kubernetes_cluster: KubernetesCluster) -> None:
    kubernetes_cluster.own_cluster()
    trouble = find_trouble(kubernetes_cluster.kubectl, "localhost/any:0", "127.0.0.1:9", seconds=2)
    assert trouble.endswith("no node has taken it; does the cluster have one, and a scheduler?")


@pytest.mark.kubernetes
def test_cluster_of_the_user_needs_an_image_and_a_broker(kubernetes_cluster: KubernetesCluster, tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "tests/e2e", KUBECONFIG=str(kubernetes_cluster.kubeconfig))
    assert done.returncode == 0, done.stdout
    assert "FLOWMACHINE_TEST_IMAGE must name an image" in done.stdout


def test_in_ci_a_skipped_test_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "tests/integration/test_sagas_kafka.py", CI="true")
    assert done.returncode == 1, done.stdout
    assert "No `java` on PATH" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
