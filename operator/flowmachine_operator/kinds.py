"""The kinds of objects that the operator has to do with, and what they are called in paths."""

from dataclasses import dataclass
from typing import Final

from flowmachine.config.resource import API_VERSION, KIND


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of one object, or of all (of a namespace, or everywhere) without a name."""
        parts = ["/apis" if "/" in self.api_version else "/api", self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [self.plural, name, subresource]
        return "/".join(part for part in parts if part)


FLOW_MACHINE: Final = Kind(API_VERSION, KIND, "flowmachines")

CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SECRET: Final = Kind("v1", "Secret", "secrets")
SERVICE: Final = Kind("v1", "Service", "services")
SERVICE_ACCOUNT: Final = Kind("v1", "ServiceAccount", "serviceaccounts")
ROLE: Final = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
ROLE_BINDING: Final = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
POD_DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR: Final = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")

CHILDREN: Final = (
    CONFIG_MAP,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    ROLE,
    ROLE_BINDING,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD_MONITOR,
)
"""All kinds of children; PodMonitor exists only where Prometheus' operator is installed."""

POD: Final = Kind("v1", "Pod", "pods")
EVENT: Final = Kind("v1", "Event", "events")
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
WEBHOOK_CONFIGURATION: Final = Kind(
    "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"
)

_BY_NAME: Final = {(kind.api_version, kind.kind): kind for kind in CHILDREN}


def kind_of(manifest: dict[str, object]) -> Kind:
    """The kind of a child's manifest."""
    return _BY_NAME[str(manifest["apiVersion"]), str(manifest["kind"])]
