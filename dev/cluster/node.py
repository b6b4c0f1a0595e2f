"""The node of a cluster, which is this machine: what containerd, kubelet and kube-proxy need around them.

Only root on Linux can be a node. Programs of the system (containerd, runc, CNI plugins, ...) are installed by apt when
they are missing.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.addresses import LOOPBACK
from dev.cache import Report
from dev.cluster.network import find_owner, make_link
from dev.cluster.node_files import CGROUP, CNI_PLUGINS, NODE_NAME, build_node_files
from dev.cluster.probe import Probe
from dev.cluster.settings import API_SERVER, CONTAINERD, KUBELET, PROXY, PROXY_HEALTH, Layout
from dev.cluster.state import load_state
from dev.cluster.sweep import sweep_node
from dev.errors import ClusterStateError, ProgramFailedError, ToolMissingError
from dev.images import build_pause_image
from dev.images.packages import ensure_programs, find_program
from dev.processes import is_ours

_PACKAGES = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ctr": "containerd",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "iptables": "iptables",
    "nft": "nftables",
    "runc": "runc",
    f"{CNI_PLUGINS}/ptp": "containernetworking-plugins",
}
_IMPORT_SECONDS_MAX = 300


def ensure_node_programs(report: Report) -> Path:
    """Install what a node needs, or say what is missing; returns the file with the image that every pod begins with."""
    if os.geteuid() != 0:
        message = "A node needs root: containers, links and cgroups are made."
        raise ToolMissingError(message)
    ensure_programs(_PACKAGES, report)
    return build_pause_image(report)


@dataclass(frozen=True, slots=True)
class Node:
    """A node whose files are in this layout."""

    layout: Layout
    report: Report

    def prepare(self) -> None:
        """Make this machine the node: programs, link, cgroup, files."""
        ensure_node_programs(self.report)
        owner = find_owner()
        if owner is not None and owner != self.layout.data_dir:
            _evict(owner)
            owner = None
        if owner is None:
            make_link(self.layout.data_dir)
        _make_cgroup()
        for name, content in build_node_files(self.layout).items():
            path = self.layout.data_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if (
                not path.exists() or path.read_text(encoding="utf-8") != content
            ):  # kube-proxy ends when its file is touched
                path.write_text(content, encoding="utf-8")

    def load_pause_image(self) -> None:
        """Give containerd the image that every pod begins with."""
        self.load_image(ensure_node_programs(self.report))

    def load_image(self, archive: Path) -> None:
        """Import an image from a file, under the name that the file gives it."""
        command = ["ctr", f"--address={self.layout.containerd_socket}", "--namespace=k8s.io"]
        result = subprocess.run(
            [*command, "images", "import", str(archive)],
            capture_output=True,
            text=True,
            check=False,
            timeout=_IMPORT_SECONDS_MAX,
        )
        if result.returncode != 0:
            message = f"containerd did not take {archive}: {result.stderr.strip()}"
            raise ProgramFailedError(message)

    def is_ready(self, probe: Probe, component: str) -> bool:
        """Tell whether one of the node's programs is ready."""
        ports = self.layout.ports
        if component == CONTAINERD:
            return self.layout.containerd_socket.exists()
        if component == PROXY:
            return probe.is_ok(LOOPBACK, ports[PROXY_HEALTH], "/healthz", is_plain=True)
        assert component == KUBELET, component
        node = probe.read(self.layout.api_host, ports[API_SERVER], f"/api/v1/nodes/{NODE_NAME}")
        conditions: list[dict[str, str]] = node.get("status", {}).get("conditions", []) if node is not None else []
        return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)

    def sweep(self) -> None:
        """Remove what pods left; the node's programs must have ended."""
        sweep_node(self.layout)


def program_of(component: str) -> str:
    """Return the path of one of the node's programs that come with the system."""
    path = find_program(component)
    assert path is not None, f"{component} was installed before"
    return path


def _evict(owner: Path) -> None:
    state = load_state(owner)
    processes = state.processes.items() if state is not None else ()
    if any(is_ours(identity, f"{owner / name}/") for name, identity in processes):
        message = (
            f"This machine is the node of the cluster in {owner}, and can be one node only; "
            f"end that one first: python -m dev.cluster down --data-dir {owner}"
        )
        raise ClusterStateError(message)
    sweep_node(Layout(owner, {}, has_node=True))  # its programs are gone, by a crash


def _make_cgroup() -> None:
    cgroups = Path("/sys/fs/cgroup")
    is_unified = (cgroups / "cgroup.controllers").exists()
    for hierarchy in [cgroups] if is_unified else [path for path in cgroups.iterdir() if path.is_dir()]:
        (hierarchy / CGROUP).mkdir(exist_ok=True)
