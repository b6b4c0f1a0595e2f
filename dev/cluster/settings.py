"""What a cluster shall be, as a value, and where its files lie."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.addresses import LOOPBACK

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
CONTAINERD = "containerd"
KUBELET = "kubelet"
PROXY = "kube-proxy"
NODE_PROGRAMS = (CONTAINERD, KUBELET, PROXY)
ETCD_PEER = "etcd-peer"
KUBELET_HEALTH = "kubelet-health"
PROXY_HEALTH = "kube-proxy-health"
PROXY_METRICS = "kube-proxy-metrics"
# Every cluster keeps a port for each, so that switching scheduler or node on does not move the others.
PORT_NAMES = (
    ETCD,
    ETCD_PEER,
    API_SERVER,
    CONTROLLER_MANAGER,
    SCHEDULER,
    KUBELET,
    KUBELET_HEALTH,
    PROXY_HEALTH,
    PROXY_METRICS,
)
NODE_ADDRESS = "10.85.0.1"
"""The node's address, on a link of ours: what listens there is reached from pods and from nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """The programs of a development cluster.

    `data_dir` None means a temporary folder that `Cluster.close` removes. Without the scheduler pods stay unbound, so
    a test that plays the node meets nobody else. With `node` this machine runs the pods (root only), and there is a
    scheduler. `api_server_flags` come after ours and win over them.
    """

    scheduler: bool = False
    node: bool = False
    api_server_flags: tuple[str, ...] = ()
    data_dir: Path | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """The programs in the order of their start."""
        return tuple(name for stage in self.stages for name in stage)

    @property
    def stages(self) -> tuple[tuple[str, ...], ...]:
        """The programs that start together; each stage waits until the one before is ready."""
        scheduler = (SCHEDULER,) if self.scheduler or self.node else ()
        node = (NODE_PROGRAMS[:1], NODE_PROGRAMS[1:]) if self.node else ()
        return ((ETCD, API_SERVER), (CONTROLLER_MANAGER, *scheduler), *node)

    def to_json(self) -> dict[str, Any]:
        """Return what state.json keeps of the settings: all but the folder it lies in."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "data_dir"}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "ClusterSettings":
        """Read what `to_json` wrote."""
        return cls(scheduler=plain["scheduler"], node=plain["node"], api_server_flags=tuple(plain["api_server_flags"]))


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a cluster and the addresses of its programs."""

    data_dir: Path
    ports: Mapping[str, int]
    has_node: bool = False

    @property
    def api_host(self) -> str:
        """Where the API server listens: pods must reach it."""
        return NODE_ADDRESS if self.has_node else LOOPBACK

    @property
    def server(self) -> str:
        """The address of the API server."""
        return f"https://{self.api_host}:{self.ports[API_SERVER]}"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        return self.data_dir / "kubeconfig"

    @property
    def tls(self) -> Path:
        """Certificates and keys."""
        return self.data_dir / "tls"

    @property
    def service_account_key(self) -> Path:
        """The key that signs the tokens of service accounts."""
        return self.tls / "service-account.key"

    @property
    def tokens(self) -> Path:
        """The API server's token file."""
        return self.folder_of(API_SERVER) / "tokens.csv"

    @property
    def containerd_state(self) -> Path:
        """What containerd knows about running containers."""
        return self.folder_of(CONTAINERD) / "state"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.folder_of(CONTAINERD) / "containerd.sock"

    @property
    def kubectl_cache(self) -> Path:
        """Where kubectl keeps what it learned about the API."""
        return self.data_dir / "kubectl-cache"

    def folder_of(self, component: str) -> Path:
        """Return the folder of a program; a path in it is on its command line, by which we know it as ours."""
        return self.data_dir / component

    def kubeconfig_of(self, component: str) -> Path:
        """Return the kubeconfig of a program."""
        return self.folder_of(component) / "kubeconfig"
