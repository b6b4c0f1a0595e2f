"""Settings -> the configuration files of a node. Pure: the same layout gives the same text.

One node, which is this machine. Pods get addresses of `POD_RANGE` and reach each other, the node and Services through
the node's routing (CNI plugin ptp); nothing leads from them to other machines. The node's own address is on a link of
ours, so that the API server and Kafka can be reached from pods without listening on the machine's real addresses.
"""

import json

import yaml

from dev.addresses import LOOPBACK
from dev.certificates import TlsFiles
from dev.cluster.settings import (
    CONTAINERD,
    KUBELET,
    KUBELET_HEALTH,
    NODE_ADDRESS,
    PROXY,
    PROXY_HEALTH,
    PROXY_METRICS,
    Layout,
)
from dev.images import pause

NODE_NAME = "node"
POD_RANGE = "10.85.0.0/16"
NETWORK_NAME = "flowmachine"
CGROUP = "flowmachine"
CNI_PLUGINS = "/usr/lib/cni"  # where Debian has them

_FIRST_POD_ADDRESS = "10.85.0.10"


def build_node_files(layout: Layout) -> dict[str, str]:
    """Return path in the data folder -> content."""
    return {
        f"{CONTAINERD}/config.toml": _build_containerd(layout),
        f"{CONTAINERD}/cni/10-{NETWORK_NAME}.conflist": json.dumps(_build_network(layout), indent=2),
        f"{KUBELET}/config.yaml": yaml.safe_dump(_build_kubelet(layout), sort_keys=False),
        f"{PROXY}/config.yaml": yaml.safe_dump(_build_proxy(layout), sort_keys=False),
    }


def _build_containerd(layout: Layout) -> str:
    folder = layout.folder_of(CONTAINERD)
    return f"""\
version = 2
root = "{folder}/root"
state = "{layout.containerd_state}"
# Neither ours: without Btrfs and ZFS they only complain, and nobody outside of the cluster asks for images.
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause.NAME}"
  # Mounts of ours lie under our folder, and can be found and removed there.
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _build_network(layout: Layout) -> dict[str, object]:
    ranges = [[{"subnet": POD_RANGE, "rangeStart": _FIRST_POD_ADDRESS, "gateway": NODE_ADDRESS}]]
    leases = str(layout.folder_of(CONTAINERD) / "leases")
    addresses = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}], "dataDir": leases}
    return {"cniVersion": "0.4.0", "name": NETWORK_NAME, "plugins": [{"type": "ptp", "ipam": addresses}]}


def _build_kubelet(layout: Layout) -> dict[str, object]:
    tls = TlsFiles.inside(layout.tls)
    folder = layout.folder_of(KUBELET)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "port": layout.ports[KUBELET],
        "healthzBindAddress": LOOPBACK,
        "healthzPort": layout.ports[KUBELET_HEALTH],
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(tls.ca)},
        },
        "authorization": {"mode": "AlwaysAllow"},  # whom our authority signed: the API server
        "tlsCertFile": str(layout.tls / "server.pem"),
        "tlsPrivateKeyFile": str(layout.tls / "server.key"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",  # there is no DNS in this cluster
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
        # A contributor's disk may be fuller than a server's.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "4s",
        "serializeImagePulls": True,
        "shutdownGracePeriod": "0s",
    }


def _build_proxy(layout: Layout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_RANGE,
        "clientConnection": {"kubeconfig": str(layout.kubeconfig_of(PROXY))},
        "healthzBindAddress": f"{LOOPBACK}:{layout.ports[PROXY_HEALTH]}",
        "metricsBindAddress": f"{LOOPBACK}:{layout.ports[PROXY_METRICS]}",
        "nodePortAddresses": [f"{NODE_ADDRESS}/32"],
        # The machine's connection tracking is not ours to resize.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
