"""The NetworkPolicy, for clusters that want one: who may reach the engines' HTTP port."""

from flowmachine_operator.build.identity import MANAGER, child, child_name, selector_labels
from flowmachine_operator.build.subject import HTTP_PORT, Manifest, Subject


def build_network_policy(subject: Subject, operator_namespace: str, *, is_enabled: bool) -> Manifest | None:
    """Pods of the machine's namespace and the operators may reach the HTTP port, nobody else; None unless asked for.

    Operators ask engines for the counts of their sagas and for the state of the store. What engines reach is not
    limited: brokers and REST channels may be anywhere.
    """
    if not is_enabled:
        return None
    everyone_here: Manifest = {"podSelector": {}}
    operators: Manifest = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": MANAGER}},
    }
    return child(
        subject,
        api_version="networking.k8s.io/v1",
        kind="NetworkPolicy",
        name=child_name(subject),
        spec={
            "podSelector": {"matchLabels": selector_labels(subject)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [everyone_here, operators], "ports": [{"port": HTTP_PORT, "protocol": "TCP"}]}],
        },
    )
