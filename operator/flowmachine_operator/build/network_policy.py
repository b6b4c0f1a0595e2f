"""The NetworkPolicy, for clusters that want one: who may reach the engines' HTTP port."""

from flowmachine_operator.build.identity import child, child_name, selector_labels
from flowmachine_operator.build.subject import HTTP_PORT, Manifest, Subject


def build_network_policy(subject: Subject, *, is_enabled: bool) -> Manifest | None:
    """Pods of the machine's namespace may reach the HTTP port, and nobody anything else; None unless asked for.

    What engines reach is not limited: brokers and REST channels may be anywhere.
    """
    if not is_enabled:
        return None
    everyone_here: Manifest = {"podSelector": {}}
    return child(
        subject,
        api_version="networking.k8s.io/v1",
        kind="NetworkPolicy",
        name=child_name(subject),
        spec={
            "podSelector": {"matchLabels": selector_labels(subject)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [everyone_here], "ports": [{"port": HTTP_PORT, "protocol": "TCP"}]}],
        },
    )
