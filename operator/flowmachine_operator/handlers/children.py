"""Watches of the children: wake a machine when one of its objects was changed or deleted.

Not by kopf, which watches all objects of a kind and sorts them out itself: here the API server is asked for ours only,
by label, and for their metadata only, so that no Secret and no large ConfigMap travels.
"""

import asyncio
import logging
from typing import Final

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.resource import KIND
from flowmachine_operator.build.identity import MACHINE_LABEL, MANAGER
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError
from flowmachine_operator.handlers.machines import Machines
from flowmachine_operator.kinds import CHILDREN, POD_MONITOR, Kind
from flowmachine_operator.kube_api import NOT_FOUND, KubeApi, pause
from flowmachine_operator.plan.children import ChildOptions
from flowmachine_operator.settings import Settings

SELECTOR: Final = f"app.kubernetes.io/managed-by={MANAGER},{MACHINE_LABEL}"
_PAUSES_SECONDS: Final = (0.2, 1.0, 5.0, 15.0)
_ABSENT_SECONDS: Final = 60.0
"""How often it is asked whether a kind exists by now."""

_log = logging.getLogger(__name__)


class ChildWatches:
    """One watch for each kind and namespace."""

    def __init__(self, api: KubeApi, machines: Machines, settings: Settings) -> None:
        self._api = api
        self._machines = machines
        self._settings = settings
        self._has_pod_monitors = False

    def options(self) -> ChildOptions:
        """Which children machines shall have, as far as it is known now."""
        return ChildOptions(
            network_policies=self._settings.network_policies,
            pod_monitors=self._settings.pod_monitors,
            has_pod_monitors=self._has_pod_monitors,
            operator_namespace=self._settings.namespace,
        )

    def start(self, tasks: asyncio.TaskGroup, stopping: asyncio.Event) -> None:
        """Start all watches; they run until the operator stops."""
        for kind in CHILDREN:
            for namespace in self._settings.namespaces or (None,):
                path = kind.path(namespace)
                tasks.create_task(self._run(kind, path, stopping), name=f"watch of {path}")

    async def _run(self, kind: Kind, path: str, stopping: asyncio.Event) -> None:
        version, failures = "", 0
        while not stopping.is_set():
            try:
                if not version:
                    version = await self._list(kind, path)
                async for event, found in self._api.watch_metadata(path, selector=SELECTOR, resource_version=version):
                    version = str(as_object(found.get("metadata")).get("resourceVersion") or version)
                    if event != "BOOKMARK":
                        self._wake(found)
                failures = 0
            except ApiUnavailableError as error:
                _log.debug("a watch ended and is opened again", extra={"path": path, "reason": str(error)})
                version = ""  # perhaps too old: begin with a list
                await pause(_PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)], stopping)
                failures += 1
            except ApiRefusedError as error:
                version = ""
                if kind == POD_MONITOR and error.status == NOT_FOUND:
                    self._note_pod_monitors(is_there=False)
                else:
                    _log.error("children cannot be watched", extra={"path": path, "reason": str(error)})
                await pause(_ABSENT_SECONDS, stopping)

    async def _list(self, kind: Kind, path: str) -> str:
        """Begin with what there is. What happened while nobody watched is unknown, so all are woken."""
        found = await self._api.list_metadata(path, selector=SELECTOR)
        if kind == POD_MONITOR:
            self._note_pod_monitors(is_there=True)
        self._machines.wake_all()
        for item in as_array(found.get("items")):
            self._wake(as_object(item))
        return str(as_object(found.get("metadata")).get("resourceVersion"))

    def _wake(self, child: Manifest) -> None:
        metadata = as_object(child.get("metadata"))
        namespace = str(metadata.get("namespace"))
        for owner in map(as_object, as_array(metadata.get("ownerReferences"))):
            if owner.get("kind") == KIND:
                self._machines.wake(namespace, str(owner.get("name")))

    def _note_pod_monitors(self, *, is_there: bool) -> None:
        if self._has_pod_monitors != is_there:
            self._has_pod_monitors = is_there
            self._machines.wake_all()
