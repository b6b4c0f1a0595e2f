"""The node of `dev.cluster`: it runs pods from an image of ours, and leaves nothing on the machine, however it ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.cluster import Cluster, ClusterSettings
from dev.cluster.network import find_owner
from dev.cluster.node import ensure_node_programs
from dev.cluster.programs import provision
from dev.images import build_pause_image
from dev.images.pause import NAME
from tests.support.eventually import eventually
from tests.support.tools import skipped_without_tools

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

_ROOT = Path(__file__).resolve().parents[2]
_RUN = """
import sys
from pathlib import Path
from dev.cluster import Cluster, ClusterSettings
cluster = Cluster(ClusterSettings(node=True, data_dir=Path(sys.argv[1])))
cluster.start()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with skipped_without_tools():
        ensure_node_programs(print)
        provision()
    # Not below `tmp_path`: kubelet's sockets would have paths of more than the 107 characters that there may be.
    with tempfile.TemporaryDirectory(prefix="node-", ignore_cleanup_errors=True) as folder:
        cluster = Path(folder) / "cluster"
        yield cluster
        left = Cluster.attach(cluster)
        if left is not None:
            left.stop(is_graceful=False)


def _left_on_machine(data_dir: Path) -> list[str]:
    """What a node must not leave: its processes, mounts, cgroups, link and rules."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    left = [line for line in mounts if str(data_dir) in line]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(data_dir) in command and "pytest" not in command:
            left.append(command)
    left += [str(path) for path in Path("/sys/fs/cgroup").glob("*/flowmachine")]
    if find_owner() is not None:
        left.append("the link")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return left + [line for line in tables.splitlines() if "kube-proxy" in line]


def _run_pod(cluster: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pause"},
        "spec": {"containers": [{"name": "pause", "image": NAME, "imagePullPolicy": "Never"}]},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/pause", "--timeout=90s", timeout_seconds=100)


async def test_pods_run_and_an_ordered_end_leaves_nothing(data_dir: Path) -> None:
    build_pause_image()
    cluster = Cluster(ClusterSettings(node=True, data_dir=data_dir))
    try:
        cluster.start()
        _run_pod(cluster)
        assert cluster.kubectl("logs", "pause") == ""  # the API server reaches the kubelet
        cluster.kill("kubelet")
        cluster.start()
        assert cluster.is_ready()
    finally:
        cluster.close()
    await eventually(lambda: _left_on_machine(data_dir) == [], "nothing is left")


async def test_killed_owner_leaves_nothing(data_dir: Path) -> None:
    await asyncio.to_thread(_run_pod_and_kill_owner, data_dir)
    await eventually(lambda: _left_on_machine(data_dir) == [], "nothing is left")


def _run_pod_and_kill_owner(data_dir: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(data_dir)],
        cwd=_ROOT,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        cluster = Cluster.attach(data_dir)
        assert cluster is not None
        _run_pod(cluster)
        owner.send_signal(signal.SIGKILL)
