"""Names, labels and owners of children.

A child is called `fm-{machine}`: with a prefix it cannot be mistaken for the user's own Service or Deployment of the
machine's name, and it begins with a letter, as the name of a Service must. What is too long is cut and gets a hash of
the whole, so that two long names stay different.
"""

import hashlib
import re
from typing import Final

from flowmachine.config.resource import API_VERSION, KIND
from flowmachine_operator.build.subject import Manifest, Subject

LABEL_LENGTH_MAX: Final = 63
"""Of names that become DNS labels (Services), of label values and of volumes."""

NAME_LENGTH_MAX: Final = 253
"""Of all other names, and of keys in ConfigMaps and Secrets."""

PREFIX: Final = "fm-"
MANAGER: Final = "flowmachine-operator"
MACHINE_LABEL: Final = "flowmachine.io/machine"
REVISION_LABEL: Final = "flowmachine.io/revision"

_HASH_LENGTH: Final = 10


def short_hash(text: str) -> str:
    """Ten hex digits: 40 bits, plenty for the few names of one namespace."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]


def fit_name(text: str, length_max: int) -> str:
    """The text if it is short enough, else its beginning and a hash of all of it."""
    if len(text) <= length_max:
        return text
    head = text[: length_max - _HASH_LENGTH - 1].rstrip("-.")
    return f"{head}-{short_hash(text)}"


def child_name(subject: Subject, suffix: str = "", *, length_max: int = LABEL_LENGTH_MAX) -> str:
    """`fm-{machine}` or `fm-{machine}-{suffix}`; the suffix is never cut."""
    return name_child(subject.name, suffix, length_max=length_max)


def name_child(machine: str, suffix: str = "", *, length_max: int = LABEL_LENGTH_MAX) -> str:
    """The same for a machine of which only the name is known."""
    tail = f"-{suffix}" if suffix else ""
    return fit_name(f"{PREFIX}{machine}", length_max - len(tail)) + tail


def data_key(text: str) -> str:
    """A key for a ConfigMap or a Secret, different for different texts."""
    plain = re.sub(r"[^-._a-zA-Z0-9]", "_", text)
    if plain == text and len(text) <= NAME_LENGTH_MAX:
        return text
    return f"{plain[: NAME_LENGTH_MAX - _HASH_LENGTH - 1]}-{short_hash(text)}"


def selector_labels(subject: Subject) -> dict[str, str]:
    """The labels by which a machine's pods are found. They never change: a Deployment's selector cannot."""
    return _pod_labels(subject.name)


def format_selector(machine: str) -> str:
    """The same labels as text, for lists, the status and the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(_pod_labels(machine).items()))


def _pod_labels(machine: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "flowmachine",
        "app.kubernetes.io/instance": machine,
        "app.kubernetes.io/component": "engine",
    }


def standard_labels(subject: Subject) -> dict[str, str]:
    """The labels of every child."""
    return {
        **subject.engine.extra_labels,
        **selector_labels(subject),
        "app.kubernetes.io/part-of": "flowmachine",
        "app.kubernetes.io/managed-by": MANAGER,
        MACHINE_LABEL: subject.name,
    }


def owner_reference(subject: Subject) -> Manifest:
    """Makes the child go when its FlowMachine goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": subject.name,
        "uid": subject.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(subject: Subject, *, api_version: str, kind: str, name: str, **fields: object) -> Manifest:
    """A child with its identity; `fields` are what stands beside the metadata."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": subject.namespace,
            "labels": standard_labels(subject),
            "ownerReferences": [owner_reference(subject)],
        },
        **fields,
    }
