"""kopf: tells which FlowMachines there are, and that one has changed.

Only `on.event` is used. kopf's other handlers keep the last spec in an annotation of the object, which fails for large
machines, and add a finalizer that hangs when the operator is gone. Here nothing is written by kopf at all.
"""

import asyncio
import dataclasses
from typing import Any, Final

import kopf

from flowmachine_operator.handlers.machines import Machines
from flowmachine_operator.kinds import FLOW_MACHINE
from flowmachine_operator.settings import Settings

GROUP, VERSION = FLOW_MACHINE.api_version.split("/")
_DELETED: Final = "DELETED"


async def run_kopf(machines: Machines, settings: Settings, server: str, stopping: asyncio.Event) -> None:
    """Until asked to stop, by the event or by a signal: kopf takes SIGTERM over, and returns on it."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def _login(**arguments: Any) -> Any:
        account = kopf.login_with_service_account(**arguments)
        # kopf would go by the name kubernetes.default.svc: the operator shall work while the cluster's DNS does not.
        return dataclasses.replace(account, server=server) if account else kopf.login_with_kubeconfig(**arguments)

    @kopf.on.event(GROUP, VERSION, FLOW_MACHINE.plural, registry=registry)
    async def _changed(type: str | None, body: kopf.Body, **_: Any) -> None:
        machines.changed(dict(body), is_gone=type == _DELETED)

    kopf_settings = kopf.OperatorSettings()
    kopf_settings.posting.enabled = False
    # Otherwise it would watch all namespaces and CustomResourceDefinitions, for which it would need rights.
    kopf_settings.scanning.disabled = True
    await kopf.operator(
        registry=registry,
        settings=kopf_settings,
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stopping,
    )
    stopping.set()
