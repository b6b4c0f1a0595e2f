"""A machine's `template`: overrides of the engine's pod, flat, by the names that Kubernetes has for them.

| field of the template                           | changes       |
|-------------------------------------------------|---------------|
| `labels`, `annotations`                         | the pod's own |
| `image`, `resources`, `env`, ... (CONTAINER)    | the engine    |
| `nodeSelector`, `affinity`, ... (POD)           | the pod       |

Merged as `kubectl apply` merges: mappings field by field, lists whose entries have a name entry by entry, other lists
as a whole; `null` removes. What the operator relies upon (RESERVED, and its labels) cannot be changed.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from flowmachine.config.documents import as_array, as_object, is_array, is_object
from flowmachine.errors import Problem
from flowmachine_operator.build.subject import CONFIG_DIR, SECRETS_DIR, Manifest

CONTAINER: Final = frozenset(
    {
        "image",
        "imagePullPolicy",
        "resources",
        "env",
        "envFrom",
        "volumeMounts",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    }
)
POD: Final = frozenset(
    {
        "affinity",
        "containers",
        "dnsConfig",
        "dnsPolicy",
        "hostAliases",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "priorityClassName",
        "runtimeClassName",
        "schedulerName",
        "securityContext",
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    }
)
METADATA: Final = frozenset({"annotations", "labels"})
ENGINE_CONTAINER: Final = "engine"

_FIELDS: Final = CONTAINER | POD | METADATA
_MERGE_KEYS: Final = {
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
RESERVED: Final = {
    "containers": frozenset({ENGINE_CONTAINER}),
    "env": frozenset({"POD_IP"}),
    "volumeMounts": frozenset({CONFIG_DIR, SECRETS_DIR}),
    "volumes": frozenset({"config", "secrets"}),
}
"""Entries that are the operator's. The engine's own container is changed by the fields of the template itself."""

_MAPPINGS: Final = frozenset(
    {"affinity", "annotations", "dnsConfig", "labels", "lifecycle", "nodeSelector", "resources", "securityContext"}
)


def check_template(template: Mapping[str, object]) -> tuple[Problem, ...]:
    """What in a template is no field of it, or is of the wrong type where the merge relies on it."""
    problems: list[Problem] = []
    for name, value in template.items():
        path = f"spec.template.{name}"
        if name not in _FIELDS:
            close = get_close_matches(name, _FIELDS, n=1)
            meant = f"; did you mean '{close[0]}'?" if close else ""
            problems.append(Problem(path, "unknown-field", f"'{name}' cannot be set here{meant}"))
        elif name in _MERGE_KEYS and value is not None and not _is_keyed(value, _MERGE_KEYS[name]):
            wanted = f"must be a list of mappings, each with '{_MERGE_KEYS[name]}'"
            problems.append(Problem(path, "wrong-type", wanted))
        elif name in RESERVED and (taken := _keys_of(value, _MERGE_KEYS[name]) & RESERVED[name]):
            problems.append(Problem(path, "reserved", f"'{min(taken)}' is the operator's own; choose another"))
        elif name in _MAPPINGS and value is not None and not is_object(value):
            problems.append(Problem(path, "wrong-type", "must be a mapping of fields"))
    return tuple(problems)


def merge_template(pod: Manifest, template: Mapping[str, object]) -> Manifest:
    """The pod template with the overrides of a template in which `check_template` finds nothing.

    The engine is the first container of `pod`; a template may add further ones.
    """
    metadata, spec = as_object(pod["metadata"]), as_object(pod["spec"])
    containers = spec["containers"]
    assert is_array(containers), "the engine's pod has a list of containers"
    engine = merge(as_object(containers[0]), _chosen(template, CONTAINER))
    return {
        "metadata": merge(metadata, _chosen(template, METADATA)),
        "spec": merge({**spec, "containers": [engine, *containers[1:]]}, _chosen(template, POD)),
    }


def merge(base: Mapping[str, object], override: Mapping[str, object]) -> Manifest:
    """The strategic merge of two mappings; neither is changed."""
    merged = dict(base)
    for name, value in override.items():
        old = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif is_object(value):
            merged[name] = merge(as_object(old), value)
        elif is_array(value) and name in _MERGE_KEYS and is_array(old):
            merged[name] = _merge_lists(old, value, _MERGE_KEYS[name])
        else:
            merged[name] = value
    return merged


def _merge_lists(old: list[object], new: list[object], key: str) -> list[object]:
    merged = {str(as_object(item).get(key)): item for item in old}
    for item in new:
        fields = as_object(item)
        name = str(fields.get(key))
        merged[name] = merge(as_object(merged.get(name)), fields)
    return list(merged.values())


def _chosen(template: Mapping[str, object], names: frozenset[str]) -> Manifest:
    return {name: value for name, value in template.items() if name in names}


def _keys_of(items: object, key: str) -> set[str]:
    return {str(as_object(item).get(key)) for item in as_array(items)}


def _is_keyed(value: object, key: str) -> bool:
    return is_array(value) and all(isinstance(as_object(item).get(key), str) for item in value)
