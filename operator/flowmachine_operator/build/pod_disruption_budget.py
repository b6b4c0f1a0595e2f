"""The PodDisruptionBudget: a drained node takes one engine after the other."""

from flowmachine_operator.build.identity import child, child_name, selector_labels
from flowmachine_operator.build.subject import Manifest, Subject


def build_pod_disruption_budget(subject: Subject) -> Manifest:
    """At most one engine evicted at a time. One that is not ready may always go: it holds no partition back."""
    return child(
        subject,
        api_version="policy/v1",
        kind="PodDisruptionBudget",
        name=child_name(subject),
        spec={
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector_labels(subject)},
        },
    )
