"""The children that a machine shall have."""

from collections.abc import Mapping
from dataclasses import dataclass

from flowmachine_operator.build.config_map import build_config_map
from flowmachine_operator.build.deployment import build_deployment
from flowmachine_operator.build.document import EngineDocument
from flowmachine_operator.build.identity import name_child
from flowmachine_operator.build.network_policy import build_network_policy
from flowmachine_operator.build.pod_disruption_budget import build_pod_disruption_budget
from flowmachine_operator.build.pod_monitor import build_pod_monitor
from flowmachine_operator.build.role import build_role, build_role_binding
from flowmachine_operator.build.seal import seal
from flowmachine_operator.build.secret import build_secret
from flowmachine_operator.build.service import build_service
from flowmachine_operator.build.service_account import build_service_account
from flowmachine_operator.build.subject import Manifest, Subject
from flowmachine_operator.kinds import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    POD_MONITOR,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from flowmachine_operator.plan.facts import KafkaAnswer, Outside
from flowmachine_operator.plan.replicas import ReplicaPlan, ReplicaReason


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """What the operator was told, or found in the cluster."""

    network_policies: bool
    pod_monitors: bool
    has_pod_monitors: bool
    """Whether the cluster knows the kind PodMonitor."""
    operator_namespace: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of children that exist in this cluster."""
        return tuple(kind for kind in CHILDREN if kind != POD_MONITOR or self.has_pod_monitors)


def name_of(kind: Kind, machine: str) -> str:
    """What the one child of a kind is called. ConfigMaps, of which there are several, are called otherwise."""
    assert kind != CONFIG_MAP, "there is one for each revision"
    return name_child(machine, "literals" if kind == SECRET else "")


def build_children(
    subject: Subject,
    document: EngineDocument,
    options: ChildOptions,
    *,
    replicas: int,
    secret_versions: Mapping[str, str],
) -> dict[Kind, Manifest]:
    """All children that shall exist, in the order in which they are made: the Deployment after what its pods need.

    Raises ConfigurationError when the machine is too large for a ConfigMap.
    """
    has_monitor = options.pod_monitors and options.has_pod_monitors
    built: dict[Kind, Manifest | None] = {
        CONFIG_MAP: build_config_map(subject, document),
        SECRET: build_secret(subject, document),
        SERVICE: build_service(subject),
        SERVICE_ACCOUNT: build_service_account(subject),
        ROLE: build_role(subject),
        ROLE_BINDING: build_role_binding(subject),
        POD_DISRUPTION_BUDGET: build_pod_disruption_budget(subject),
        NETWORK_POLICY: build_network_policy(subject, options.operator_namespace, is_enabled=options.network_policies),
        POD_MONITOR: build_pod_monitor(subject, is_enabled=has_monitor),
        DEPLOYMENT: build_deployment(subject, document, replicas=replicas, secret_versions=secret_versions),
    }
    return {kind: seal(manifest) for kind, manifest in built.items() if manifest is not None}


def keeps_deployment(outside: Outside, replicas: ReplicaPlan, live: Mapping[Kind, Manifest]) -> bool:
    """Whether a Deployment that runs is left as it is, because new pods could not do what its pods do.

    Without a Secret they would not start, refused by Kafka they would not become ready. Pausing is always possible.
    """
    if DEPLOYMENT not in live or replicas.reason is ReplicaReason.PAUSED:
        return False
    kafka = outside.kafka
    return bool(outside.missing_secrets or kafka.missing_topics) or kafka.answer is KafkaAnswer.REFUSED
