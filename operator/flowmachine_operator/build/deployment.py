"""The Deployment: as many engines as the plan says, replaced one after the other, never one more than planned."""

from collections.abc import Mapping
from typing import Final

from flowmachine.config.build import revision_of
from flowmachine_operator.build.config_map import config_map_name, encode_document
from flowmachine_operator.build.document import EngineDocument
from flowmachine_operator.build.identity import child, child_name, selector_labels
from flowmachine_operator.build.pod import build_pod
from flowmachine_operator.build.subject import Manifest, Subject

REVISIONS_KEPT: Final = 3
"""Old ReplicaSets, and with them the ConfigMaps that must be kept for `kubectl rollout undo`."""

PROGRESS_SECONDS_MAX: Final = 600
"""Restoring a large partition takes minutes; an engine that is not ready after ten of them is stuck."""


def build_deployment(
    subject: Subject,
    engine_document: EngineDocument,
    *,
    replicas: int,
    secret_versions: Mapping[str, str],
) -> Manifest | None:
    """The Deployment; None for a machine without Kafka, whose embedded log would not outlive its pod.

    maxSurge is 0: a pod too many takes partitions for seconds and gives them back, two rebalances for nothing.
    """
    if not subject.has_kafka:
        return None
    pod = build_pod(
        subject,
        engine_document,
        config_map=config_map_name(subject, encode_document(engine_document)),
        revision=revision_of(subject.resource.spec),
        secret_versions=secret_versions,
    )
    return child(
        subject,
        api_version="apps/v1",
        kind="Deployment",
        name=child_name(subject),
        spec={
            "replicas": replicas,
            "revisionHistoryLimit": REVISIONS_KEPT,
            "progressDeadlineSeconds": PROGRESS_SECONDS_MAX,
            "selector": {"matchLabels": selector_labels(subject)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": pod,
        },
    )
