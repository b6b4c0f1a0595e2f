"""Settings -> the arguments of each program. Pure: the same settings give the same arguments.

As in a stock cluster: RBAC and the Node authorizer, the default admission plugins (webhooks, admission policies, Pod
Security, quotas) and NodeRestriction, anonymous requests only for health. Not as there: etcd does not sync its files,
one of each program and hence no leader election, and everything listens on 127.0.0.1, or with a node on its address.
"""

from dev.addresses import LOOPBACK
from dev.certificates import TlsFiles
from dev.cluster.node_files import NODE_NAME
from dev.cluster.settings import (
    API_SERVER,
    CONTAINERD,
    CONTROLLER_MANAGER,
    ETCD,
    ETCD_PEER,
    KUBELET,
    NODE_ADDRESS,
    PROXY,
    SCHEDULER,
    ClusterSettings,
    Layout,
)

SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # of the service `kubernetes`, the first of the range
_NO_ENDPOINT = ["--endpoint-reconciler-type=none"]  # a loopback address may not be an endpoint of a service
_ISSUER = "https://kubernetes.default.svc.cluster.local"


def build_arguments(component: str, layout: Layout, settings: ClusterSettings) -> list[str]:
    """Return the arguments of one program."""
    if component == ETCD:
        return _build_etcd(layout)
    if component == API_SERVER:
        return [*_build_api_server(layout), *settings.api_server_flags]
    if component == CONTROLLER_MANAGER:
        return _build_controller_manager(layout)
    if component == CONTAINERD:
        return [f"--config={layout.folder_of(CONTAINERD) / 'config.toml'}"]
    if component == KUBELET:
        return _build_kubelet(layout)
    if component == PROXY:
        return [f"--config={layout.folder_of(PROXY) / 'config.yaml'}"]
    assert component == SCHEDULER, component
    return [
        f"--kubeconfig={layout.kubeconfig_of(SCHEDULER)}",
        "--leader-elect=false",
        *_build_serving(layout, SCHEDULER),
    ]


def _build_etcd(layout: Layout) -> list[str]:
    client = f"http://{LOOPBACK}:{layout.ports[ETCD]}"
    peer = f"http://{LOOPBACK}:{layout.ports[ETCD_PEER]}"
    return [
        f"--data-dir={layout.folder_of(ETCD) / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",  # a killed process loses nothing, only a machine that loses power does
        "--log-level=warn",
    ]


def _build_api_server(layout: Layout) -> list[str]:
    tls = TlsFiles.inside(layout.tls)
    return [
        f"--etcd-servers=http://{LOOPBACK}:{layout.ports[ETCD]}",
        *_build_serving(layout, API_SERVER, layout.api_host),
        f"--client-ca-file={tls.ca}",
        f"--token-auth-file={layout.tokens}",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={layout.service_account_key}",
        f"--service-account-signing-key-file={layout.service_account_key}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # added to those on by default
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        *(_build_node_access(tls) if layout.has_node else _NO_ENDPOINT),
        "--allow-privileged=true",
    ]


def _build_node_access(tls: TlsFiles) -> list[str]:
    return [
        f"--advertise-address={NODE_ADDRESS}",
        f"--kubelet-client-certificate={tls.client_certificate}",
        f"--kubelet-client-key={tls.client_key}",
        "--kubelet-preferred-address-types=InternalIP",  # nobody resolves the node's name
    ]


def _build_kubelet(layout: Layout) -> list[str]:
    folder = layout.folder_of(KUBELET)
    return [
        f"--config={folder / 'config.yaml'}",
        f"--kubeconfig={layout.kubeconfig_of(KUBELET)}",
        f"--root-dir={folder / 'root'}",
        f"--cert-dir={folder / 'certificates'}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE_ADDRESS}",
    ]


def _build_controller_manager(layout: Layout) -> list[str]:
    tls = TlsFiles.inside(layout.tls)
    return [
        f"--kubeconfig={layout.kubeconfig_of(CONTROLLER_MANAGER)}",
        *_build_serving(layout, CONTROLLER_MANAGER),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={layout.service_account_key}",
        f"--root-ca-file={tls.ca}",
        f"--cluster-signing-cert-file={tls.ca}",
        f"--cluster-signing-key-file={layout.tls / 'ca.key'}",
        "--leader-elect=false",
        "--kube-api-qps=100",  # the stock 20 makes a suite that creates and deletes many namespaces wait
        "--kube-api-burst=200",
    ]


def _build_serving(layout: Layout, component: str, host: str = LOOPBACK) -> list[str]:
    return [
        f"--bind-address={host}",
        f"--secure-port={layout.ports[component]}",
        f"--tls-cert-file={layout.tls / 'server.pem'}",
        f"--tls-private-key-file={layout.tls / 'server.key'}",
    ]
