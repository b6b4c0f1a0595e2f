"""Start and end of the operator's process.

1. probes; the process is ready as soon as it can take over
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

from flowmachine.errors import FlowMachineError
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError
from flowmachine_operator.handlers.leadership import Leadership
from flowmachine_operator.handlers.logs import set_up_logging
from flowmachine_operator.handlers.probes import Readiness, run_probes
from flowmachine_operator.kinds import FLOW_MACHINE
from flowmachine_operator.kube_api import KubeApi, connect, pause
from flowmachine_operator.metrics import Metrics
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
        async with run_probes(settings.http_port, metrics, readiness):
            readiness.problem = ""
            await leadership.run_until_held(stopping)
            if leadership.is_held:
                metrics.is_leader.set(1)
                await _wait_for_crd(api, settings, stopping)
    finally:
        await leadership.release()
        await api.close()


async def _wait_for_crd(api: KubeApi, settings: Settings, stopping: asyncio.Event) -> None:
    """Return once FlowMachines can be listed, or when the operator is asked to stop."""
    path = FLOW_MACHINE.path(settings.namespaces[0] if settings.namespaces else None)
    told = ""
    while not stopping.is_set():
        try:
            await api.list_metadata(path, selector="")
        except (ApiRefusedError, ApiUnavailableError) as error:
            if str(error) != told:
                told = str(error)
                _log.warning("FlowMachines cannot be listed yet", extra={"reason": told})
            await pause(_CRD_PAUSE_SECONDS, stopping)
        else:
            return
