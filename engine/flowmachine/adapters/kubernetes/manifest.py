"""A saga as a `Saga` resource, and back.

`spec` says which saga it is; `status` is Flow Manager's document, with the rest of the saga in its field `flowmachine`.
The object's name is `{machine}.{id}`; an id that no name can hold becomes its readable part and a hash.
"""

import hashlib
import re
from typing import Any, Final

import msgspec

from flowmachine.core.saga import History, Saga
from flowmachine.wire.document import OURS, build_document, build_ours, decode_document

API_VERSION: Final = "flowmachine.io/v1alpha1"
KIND: Final = "Saga"
PLURAL: Final = "sagas"
MACHINE_LABEL: Final = "flowmachine.io/machine"
FINISHED_LABEL: Final = "flowmachine.io/finished"
FINISHED_AT: Final = "flowmachine.io/finished-at"
"""Annotation: when the saga finished, so that those whose time is over are found without reading them whole."""
STATUS_BYTES_MAX: Final = 400_000
"""etcd takes 1.5 MB for an object, and the field owners and the copy of a change need room too."""

_NAME_LENGTH_MAX: Final = 253
_HASH_LENGTH: Final = 16
_PLAIN_ID = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_BAD_DOTS = re.compile(r"\.(?=[-.])|-(?=\.)")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_entries = msgspec.json.Decoder(list[msgspec.Raw]).decode

Manifest = dict[str, Any]


class TooLargeError(Exception):
    """The saga does not fit into an object, though its history was cut."""


def object_name(machine: str, saga_id: str) -> str:
    """What the object of a saga is called."""
    name = f"{machine}.{saga_id}"
    if _PLAIN_ID.fullmatch(saga_id) and not _BAD_DOTS.search(saga_id) and len(name) <= _NAME_LENGTH_MAX:
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", saga_id.lower()).strip("-")
    head = f"{machine}.{readable}"[: _NAME_LENGTH_MAX - _HASH_LENGTH - 1].rstrip("-.")
    return f"{head}-{hashlib.sha256(saga_id.encode()).hexdigest()[:_HASH_LENGTH]}"


def build_object(saga_id: str, saga: Saga, *, machine: str, name: str, owner: Manifest) -> Manifest:
    """All but the status."""
    labels = {MACHINE_LABEL: machine}
    metadata: Manifest = {"name": name, "labels": labels, "ownerReferences": [owner]}
    if saga.is_final:
        labels[FINISHED_LABEL] = "true"
        metadata["annotations"] = {FINISHED_AT: saga.updated_at}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {"machine": machine, "sagaId": saga_id, "associatedEntityId": saga.associated_entity_id},
    }


def build_owner(flow_machine: Manifest) -> Manifest:
    """Makes the objects go when their FlowMachine goes."""
    metadata = flow_machine["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": "FlowMachine",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def build_status(saga_id: str, saga: Saga, *, name: str, resource_version: str) -> Manifest:
    """The status, to be applied to exactly this version of the object. Raises TooLargeError."""
    status, cut = _status_that_fits(saga_id, saga)
    del status["sagaId"]
    status["historyCut"] = cut
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "resourceVersion": resource_version},
        "status": status,
    }


def read_saga(found: Manifest) -> Saga | None:
    """The saga in an object; None if its status has not been written yet. Raises UnreadableDocumentError."""
    status = found.get("status")
    return decode_document(_encode(status)) if status else None


def read_seq(found: Manifest) -> int:
    """`seq` of the saga in an object; 0 if there is none, or none that makes sense."""
    try:
        return int(found["status"][OURS]["seq"])
    except (KeyError, TypeError, ValueError):
        return 0


def _status_that_fits(saga_id: str, saga: Saga) -> tuple[Manifest, int]:
    """The document, and how many of the oldest steps had to be left out of its history."""
    states, events = _decode_entries(saga.history.states), _decode_entries(saga.history.events)
    kept = len(states)
    while True:
        history = History(_join(states, kept), _join(events, kept))
        document = build_document(saga_id, msgspec.structs.replace(saga, history=history))
        encoded = _encode(document)
        ours = _encode(build_ours(saga))
        if len(encoded) + len(ours) <= STATUS_BYTES_MAX:
            return {**_decode(encoded), OURS: _decode(ours)}, len(states) - kept
        if kept == 0:
            raise TooLargeError(f"it has {len(encoded) + len(ours)} bytes, and {STATUS_BYTES_MAX} fit")
        kept //= 2


def _join(entries: list[msgspec.Raw], kept: int) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(bytes(entry) for entry in entries[len(entries) - kept :]) + b"]")
