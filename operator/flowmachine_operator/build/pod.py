"""The engines' pod: meets the `restricted` Pod Security Standard, mounts all files, a token only if its store needs it.

/etc/flowmachine/flowmachine.json            the ConfigMap of one revision
/var/run/secrets/flowmachine/{name}/{key}    the keys of Secrets that the machine names, one projected volume
/tmp                                         the only place that can be written
"""

from collections.abc import Mapping
from typing import Final

from flowmachine_operator.build.document import EngineDocument
from flowmachine_operator.build.identity import (
    REVISION_LABEL,
    child_name,
    selector_labels,
    short_hash,
    standard_labels,
)
from flowmachine_operator.build.role import has_saga_objects
from flowmachine_operator.build.subject import CONFIG_DIR, CONFIG_FILE, HTTP_PORT, SECRETS_DIR, Manifest, Subject
from flowmachine_operator.build.template import ENGINE_CONTAINER, merge, merge_template

GRACE_SECONDS: Final = 60
"""More than it takes to drain: a transaction ends within 15 s, requests within 5 s; then it leaves the group."""

SECRETS_ANNOTATION: Final = "flowmachine.io/secrets"
"""Changes when a mounted Secret changes, so that the engines start anew and read it."""

_FILE_MODE: Final = 0o444
_RESOURCES: Final[Manifest] = {"requests": {"cpu": "250m", "memory": "256Mi"}}
"""No limits by default: a throttled engine misses its transactions' timeouts, and how much memory the sagas need, only
their owner knows."""


def build_pod(
    subject: Subject,
    engine_document: EngineDocument,
    *,
    config_map: str,
    revision: str,
    secret_versions: Mapping[str, str],
) -> Manifest:
    """The pod template, the machine's own overrides merged in.

    `secret_versions` has the resourceVersion of every Secret that is mounted and exists: not a hash of its content,
    from which a short password could be guessed.
    """
    annotations: Manifest = {}
    mounted = {name: secret_versions.get(name, "") for name in sorted(engine_document.secret_names)}
    if mounted:
        annotations[SECRETS_ANNOTATION] = short_hash(repr(mounted))
    labels: Manifest = {**standard_labels(subject), REVISION_LABEL: revision}
    pod: Manifest = {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": _build_spec(subject, engine_document, config_map),
    }
    merged = merge_template(pod, subject.resource.spec.template)
    return merge(merged, {"metadata": {"labels": labels, "annotations": annotations}})


def _build_spec(subject: Subject, engine_document: EngineDocument, config_map: str) -> Manifest:
    volumes: list[object] = [
        {"name": "config", "configMap": {"name": config_map, "defaultMode": _FILE_MODE}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts: list[object] = [
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod, where nobody else is
    ]
    if engine_document.mounted:
        volumes.append({"name": "secrets", "projected": _build_projection(engine_document)})
        mounts.append({"name": "secrets", "mountPath": SECRETS_DIR, "readOnly": True})
    spec: Manifest = {
        "serviceAccountName": child_name(subject),
        "automountServiceAccountToken": has_saga_objects(subject),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "maxSkew": 1,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector_labels(subject)},
            }
        ],
        "containers": [_build_container(subject, mounts)],
        "volumes": volumes,
    }
    if subject.engine.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in subject.engine.image_pull_secrets]
    return spec


def _build_projection(engine_document: EngineDocument) -> Manifest:
    keys: dict[str, list[str]] = {}
    for name, key in sorted(engine_document.mounted):
        keys.setdefault(name, []).append(key)
    sources = [
        {"secret": {"name": name, "items": [{"key": key, "path": f"{name}/{key}"} for key in found]}}
        for name, found in keys.items()
    ]
    return {"sources": sources, "defaultMode": _FILE_MODE}


def _build_container(subject: Subject, mounts: list[object]) -> Manifest:
    container: Manifest = {
        "name": ENGINE_CONTAINER,
        "image": subject.engine.image,
        "command": ["flowmachine"],
        "args": [
            "run",
            f"--file={CONFIG_DIR}/{CONFIG_FILE}",
            f"--http=0.0.0.0:{HTTP_PORT}",
            f"--advertise=$(POD_IP):{HTTP_PORT}",
            f"--secrets-dir={SECRETS_DIR}",
            "--data-dir=/tmp",
            "--log-format=json",
        ],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": _probe("/-/ready", period_seconds=5),
        "livenessProbe": _probe("/-/healthz", period_seconds=10),
        "startupProbe": {**_probe("/-/healthz", period_seconds=2), "failureThreshold": 60},
        "resources": _RESOURCES,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    if subject.engine.image_pull_policy is not None:
        container["imagePullPolicy"] = subject.engine.image_pull_policy
    return container


def _probe(path: str, *, period_seconds: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }
