"""The only writer. Every write asks first whether this operator still holds the Lease.

children     server-side apply, field manager `flowmachine-operator`: fields of others survive
status       server-side apply, field manager `flowmachine-operator-status`, and only when it changed
finalizer    server-side apply, field manager `flowmachine-operator-finalizer`; nothing else of a FlowMachine is written
"""

import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.resource import API_VERSION, KIND
from flowmachine_operator.build.identity import MANAGER
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.kinds import CONFIG_MAP, EVENT, FLOW_MACHINE, Kind, kind_of
from flowmachine_operator.kube_api import KubeApi
from flowmachine_operator.metrics import Metrics
from flowmachine_operator.plan.drift import project
from flowmachine_operator.plan.kube_events import KubeEvent

FINALIZER: Final = "flowmachine.io/topics"
STATUS_MANAGER: Final = f"{MANAGER}-status"
FINALIZER_MANAGER: Final = f"{MANAGER}-finalizer"


class Applier:
    """Writes to the API server."""

    def __init__(self, api: KubeApi, metrics: Metrics, assert_leading: Callable[[], None]) -> None:
        self._api = api
        self._metrics = metrics
        self._assert_leading = assert_leading
        # What became of a manifest, where the API server writes values in its own way; forgotten with the process,
        # which costs one apply that changes nothing.
        self._became: dict[str, tuple[str, str]] = {}

    async def apply_child(self, manifest: Manifest, live: Manifest | None) -> Manifest:
        """The child as it is afterwards; nothing is written when it is in step."""
        kind, path = kind_of(manifest), _path_of(manifest)
        if live is not None and self._is_in_step(path, kind, manifest, live):
            return live
        self._count(kind.kind, "apply")
        applied = await self._api.apply(path, manifest, manager=MANAGER)
        self._became[path] = (_digest(manifest), _digest(project(applied, manifest)))
        return applied

    async def delete_child(self, kind: Kind, live: Manifest) -> None:
        """The child goes."""
        metadata = as_object(live["metadata"])
        path = kind.path(str(metadata["namespace"]), str(metadata["name"]))
        self._became.pop(path, None)
        self._count(kind.kind, "delete")
        await self._api.delete(path, uid=str(metadata["uid"]))

    async def apply_status(self, machine: Manifest, status: Manifest) -> bool:
        """The status is this; tells whether it had to be written."""
        if machine.get("status") == status:
            return False
        self._count(KIND, "status")
        path = _machine_path(machine, "status")
        await self._api.apply(path, {**_machine_stub(machine), "status": status}, manager=STATUS_MANAGER)
        return True

    async def apply_finalizer(self, machine: Manifest, *, is_wanted: bool) -> bool:
        """The FlowMachine has our finalizer, or has it not; tells whether it had to be written."""
        if is_wanted == has_finalizer(machine):
            return False
        self._count(KIND, "finalizer")
        stub = _machine_stub(machine)
        if is_wanted:
            stub = {**stub, "metadata": {**as_object(stub["metadata"]), "finalizers": [FINALIZER]}}
        await self._api.apply(_machine_path(machine), stub, manager=FINALIZER_MANAGER)
        return True

    async def create_kube_event(self, machine: Manifest, event: KubeEvent) -> None:
        """The event stands on the FlowMachine."""
        metadata = as_object(machine["metadata"])
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        manifest: Manifest = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": name,
                "namespace": namespace,
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.note,
            "source": {"component": MANAGER},
            "reportingComponent": MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._count(EVENT.kind, "create")
        await self._api.create(EVENT.path(namespace), manifest)

    def _is_in_step(self, path: str, kind: Kind, manifest: Manifest, live: Manifest) -> bool:
        # Of a ConfigMap only the metadata is read: it cannot be changed, and its name says what is in it.
        wanted: Manifest = {"metadata": manifest["metadata"]} if kind == CONFIG_MAP else manifest
        there = project(live, wanted)
        return there == wanted or self._became.get(path) == (_digest(manifest), _digest(there))

    def _count(self, kind: str, verb: str) -> None:
        self._assert_leading()
        self._metrics.writes.labels(kind, verb).inc()


def has_finalizer(machine: Manifest) -> bool:
    """Whether our finalizer stands on the FlowMachine."""
    return FINALIZER in as_array(as_object(machine["metadata"]).get("finalizers"))


def _machine_stub(machine: Manifest) -> Manifest:
    """What identifies a FlowMachine; with its uid, so that nothing is written to another one of its name."""
    metadata = as_object(machine["metadata"])
    identity = {name: metadata[name] for name in ("name", "namespace", "uid")}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": identity}


def _machine_path(machine: Manifest, subresource: str = "") -> str:
    metadata = as_object(machine["metadata"])
    return FLOW_MACHINE.path(str(metadata["namespace"]), str(metadata["name"]), subresource)


def _path_of(manifest: Manifest) -> str:
    metadata = as_object(manifest["metadata"])
    return kind_of(manifest).path(str(metadata["namespace"]), str(metadata["name"]))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
