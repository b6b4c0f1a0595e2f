"""Start and end of the operator's process.

1. probes and webhook; the process is ready as soon as it serves them and can take over
2. the Lease is waited for; another operator may have it
3. the CustomResourceDefinition is waited for: a chart may bring it later
4. FlowMachines and children are watched, and machines worked on, until SIGTERM or until the Lease is lost
5. the Lease is given back

A lost Lease ends the process: Kubernetes starts it again, and nothing that was begun under the old Lease goes on.
"""

import asyncio
import logging
import signal
import socket
from typing import Final

import aiohttp

from flowmachine.errors import FlowMachineError
from flowmachine_operator.apply import Applier
from flowmachine_operator.build.subject import EngineDefaults, Manifest
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError, NotLeaderError
from flowmachine_operator.handlers.admission import run_webhook
from flowmachine_operator.handlers.children import ChildWatches
from flowmachine_operator.handlers.leadership import Leadership
from flowmachine_operator.handlers.logs import set_up_logging
from flowmachine_operator.handlers.machines import Machines
from flowmachine_operator.handlers.probes import Readiness, run_probes
from flowmachine_operator.handlers.resources import run_kopf
from flowmachine_operator.handlers.worker import Worker, WorkerSettings
from flowmachine_operator.kinds import FLOW_MACHINE
from flowmachine_operator.kube_api import KubeApi, connect, pause
from flowmachine_operator.metrics import Metrics
from flowmachine_operator.reconcile import Reconciler
from flowmachine_operator.settings import Settings

EXIT_OK: Final = 0
EXIT_PROBLEM: Final = 1
_CRD_PAUSE_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


def run_process(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    set_up_logging(settings.log_level, settings.log_format)
    try:
        asyncio.run(_run(settings))
    except FlowMachineError as error:
        _log.critical("the operator ends", extra={"reason": str(error), "code": error.code})
        return EXIT_PROBLEM
    return EXIT_OK


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    api = await connect()
    metrics, readiness = Metrics(), Readiness()
    leadership = Leadership(api, settings, settings.identity or socket.gethostname())
    try:
        async with run_probes(settings.http_port, metrics, readiness), run_webhook(api, settings, metrics):
            readiness.problem = ""
            await leadership.run_until_held(stopping)
            if leadership.is_held:
                metrics.is_leader.set(1)
                await _lead(api, settings, metrics, leadership, stopping)
    finally:
        await leadership.release()
        await api.close()


async def _lead(
    api: KubeApi, settings: Settings, metrics: Metrics, leadership: Leadership, stopping: asyncio.Event
) -> None:
    """Act, for as long as the Lease is held."""
    applier = Applier(api, metrics, leadership.assert_held)
    shared = WorkerSettings(
        settings.resync_seconds,
        settings.facts_seconds,
        slots=asyncio.Semaphore(settings.workers),
        questions=asyncio.Semaphore(settings.workers * 4),
    )
    engine = EngineDefaults(
        image=settings.engine_image,
        image_pull_policy=settings.engine_image_pull_policy,
        image_pull_secrets=settings.engine_image_pull_secrets,
        extra_labels=settings.engine_labels,
    )
    is_lost = False
    try:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(leadership.run_renewals(stopping), name="renewals")
            machines = Machines(tasks)
            for machine in await _wait_for_machines(api, settings, stopping):
                machines.changed(machine)  # all of them, before the first is worked on: the older one has the right
            watches = ChildWatches(api, machines, settings)
            reconciler = Reconciler(api, applier, session, engine, machines.judge)
            machines.start_with(
                lambda namespace, name: Worker(namespace, name, reconciler, watches.options, shared, metrics)
            )
            watches.start(tasks, stopping)
            tasks.create_task(run_kopf(machines, settings, api.server, stopping), name="kopf")
            tasks.create_task(_stop(stopping), name="stop")
    except* _StoppedError:
        _log.info("the operator was asked to stop")
    except* NotLeaderError:
        is_lost = True
    if is_lost:
        raise NotLeaderError("the Lease is not held any more")


class _StoppedError(Exception):
    """Ends all tasks."""


async def _stop(stopping: asyncio.Event) -> None:
    await stopping.wait()
    raise _StoppedError


async def _wait_for_machines(api: KubeApi, settings: Settings, stopping: asyncio.Event) -> list[Manifest]:
    """All FlowMachines, once they can be listed; none when the operator is asked to stop."""
    paths = [FLOW_MACHINE.path(namespace) for namespace in settings.namespaces or (None,)]
    told = ""
    while not stopping.is_set():
        try:
            return [machine for path in paths for machine in await api.list(path)]
        except (ApiRefusedError, ApiUnavailableError) as error:
            if str(error) != told:
                told = str(error)
                _log.warning("FlowMachines cannot be listed yet", extra={"reason": told})
            await pause(_CRD_PAUSE_SECONDS, stopping)
    return []
