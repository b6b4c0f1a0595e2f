"""The PodMonitor of Prometheus' operator: every engine is scraped, also one that is not ready."""

from flowmachine_operator.build.identity import child, child_name, selector_labels
from flowmachine_operator.build.subject import Manifest, Subject


def build_pod_monitor(subject: Subject, *, is_enabled: bool) -> Manifest | None:
    """The PodMonitor; None unless asked for, and where the cluster has that kind."""
    if not is_enabled:
        return None
    return child(
        subject,
        api_version="monitoring.coreos.com/v1",
        kind="PodMonitor",
        name=child_name(subject),
        spec={
            "selector": {"matchLabels": selector_labels(subject)},
            "podMetricsEndpoints": [{"port": "http", "path": "/-/metrics"}],
        },
    )
