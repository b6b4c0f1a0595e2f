"""The operator as a process, under a service account with exactly the rights of the chart, against a real API server.

Fixtures (tests/conftest.py names this module):

operator_cluster  for the session: the CRD, a service account, and its Roles from helm/flowmachine/files/rules.yaml
pod_monitors      for a test: the kind that the Prometheus operator brings
lab               for a test: a namespace, an operator for it, a node that makes its pods ready, and ways to look

The node is played: pods become ready because the lab says so. All other parts are real.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from dev.addresses import find_free_ports
from dev.cluster.kubectl import Kubectl
from flowmachine_operator.kinds import CONFIG_MAP, DEPLOYMENT, EVENT, FLOW_MACHINE, LEASE, POD, Kind
from flowmachine_operator.kube_api import KubeApi
from tests.support.flow_machines import Manifest
from tests.support.kubernetes import (
    CRD_NAMES,
    SYSTEM,
    KubernetesCluster,
    build_running_status,
    foreign_kinds,
    install_crds,
)
from tests.support.operator_process import OperatorProcess
from tests.support.operator_rights import ACCOUNT, build_role, read_rules, write_kubeconfig

ROOT = Path(__file__).parents[2]
CRD = "flowmachines.flowmachine.io"
PREFIX = "FLOWMACHINE_OPERATOR_"
WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.1


async def until(look: Callable[[], Coroutine[Any, Any, Any]], what: str, *, seconds: float = WAIT_SECONDS) -> Any:
    """Look until there is something true, and return it. AssertionError says what never came, and what was there."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert loop.time() < deadline, f"not within {seconds:.0f} s: {what}"
        await asyncio.sleep(_POLL_SECONDS)


@dataclass(slots=True)
class OperatorCluster:
    """A cluster with the CRD and the operator's service account."""

    cluster: KubernetesCluster
    kubeconfig: Path
    """Of the operator's service account."""

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as administrator."""
        return self.cluster.kubectl


@pytest.fixture(scope="session")
def operator_cluster(
    kubernetes_cluster: KubernetesCluster, tmp_path_factory: pytest.TempPathFactory
) -> OperatorCluster:
    """The cluster, ready for operators."""
    rules = read_rules(
        lease_name="flowmachine-operator",
        webhook_secret="flowmachine-operator-webhook",
        webhook_configuration="flowmachine-operator",
    )
    kubernetes_cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": SYSTEM}},
        *build_role("ClusterRole", "flowmachine-watched", rules["watched"]),
        *build_role("ClusterRole", "flowmachine-certificate", rules["certificate"]["cluster"]),
        *build_role("Role", "flowmachine-own", rules["own"] + rules["certificate"]["own"], namespace=SYSTEM),
    )
    kubeconfig = tmp_path_factory.mktemp("operator") / "kubeconfig"
    write_kubeconfig(kubernetes_cluster, ACCOUNT, kubeconfig)
    return OperatorCluster(kubernetes_cluster, kubeconfig)


@dataclass(slots=True)
class Lab:
    """A namespace, the operators that watch it, and the node that is not there."""

    cluster: OperatorCluster
    namespace: str
    api: KubeApi
    folder: Path
    kubeconfig: Path
    """As whom operators are started."""
    operators: list[OperatorProcess] = field(default_factory=list)
    holds_back: set[str] = field(default_factory=set)
    """Names of machines whose pods do not become ready."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """In the lab's namespace, as administrator."""
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    async def run_kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """The same, without stopping the node."""
        return await asyncio.to_thread(self.kubectl, *arguments, stdin=stdin)

    async def apply(self, *manifests: Manifest) -> None:
        """As a user with kubectl does; manager `user`."""
        documents = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        arguments = ("apply", "--server-side", "--force-conflicts", "--field-manager=user", "-f", "-")
        await self.run_kubectl(*arguments, stdin=json.dumps(documents))

    async def start_operator(self, *, waits: bool = True, **variables: str) -> OperatorProcess:
        """An operator for this namespace; it acts when this returns, unless told not to wait."""
        (port,) = find_free_ports(1)
        number = len(self.operators)
        log = self.folder / f"operator-{number}.log"
        settings = {
            "engine_image": "flowmachine:test",
            "namespaces": self.namespace,
            "namespace": SYSTEM,
            "identity": f"operator-{number}-{uuid.uuid4().hex[:6]}",
            "http_port": str(port),
            "facts_seconds": "1",
            "lease_seconds": "6",
            "log_format": "text",
            **variables,
        }
        environment = {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}
        with log.open("wb") as output:
            process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "flowmachine_operator"],
                env={**os.environ, "KUBECONFIG": str(self.kubeconfig), **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        operator = OperatorProcess(process, port, log)
        self.operators.append(operator)
        if waits:
            await until(lambda: asyncio.to_thread(operator.is_leader), f"the operator acts, see {log}")
        return operator

    async def machine(self, name: str) -> Manifest | None:
        """The FlowMachine."""
        return await self.api.get(FLOW_MACHINE.path(self.namespace, name))

    async def condition(self, name: str, kind: str) -> Manifest:
        """A condition of a FlowMachine; empty when there is none."""
        machine = await self.machine(name) or {}
        return next((item for item in machine.get("status", {}).get("conditions", []) if item["type"] == kind), {})

    async def until_condition(
        self, name: str, kind: str, *, reason: str = "", status: str = "", seconds: float = WAIT_SECONDS
    ) -> Manifest:
        """Wait for a condition, and return it."""
        last: Manifest = {}

        async def look() -> Manifest | None:
            nonlocal last
            machine = await self.machine(name) or {}
            if machine.get("status", {}).get("observedGeneration") != machine.get("metadata", {}).get("generation"):
                return None
            last = await self.condition(name, kind)
            fits = last and reason in ("", last["reason"]) and status in ("", last["status"])
            return last if fits else None

        try:
            found: Manifest = await until(look, f"{name}: {kind} {status} {reason}", seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {last}; {self.tail()}") from None
        return found

    async def until_ready(self, name: str, *, reason: str = "Running", seconds: float = WAIT_SECONDS) -> Manifest:
        """Wait until a machine is Ready, and return it."""
        await self.until_condition(name, "Ready", status="True", reason=reason, seconds=seconds)
        found = await self.machine(name)
        assert found is not None
        return found

    async def child(self, kind: Kind, name: str) -> Manifest | None:
        """An object of this name."""
        return await self.api.get(kind.path(self.namespace, name))

    async def until_child(self, kind: Kind, name: str, *, seconds: float = WAIT_SECONDS) -> Manifest:
        """Wait for an object."""
        found: Manifest = await until(lambda: self.child(kind, name), f"{kind.kind} {name}", seconds=seconds)
        return found

    async def replicas(self, machine: str) -> int | None:
        """What the Deployment of a machine asks for."""
        deployment = await self.child(DEPLOYMENT, f"fm-{machine}")
        return None if deployment is None else deployment["spec"]["replicas"]

    async def config_maps(self) -> list[Manifest]:
        """All ConfigMaps of ours."""
        selector = "app.kubernetes.io/managed-by=flowmachine-operator"
        return await self.api.list(CONFIG_MAP.path(self.namespace), selector=selector)

    async def until_told(self, machine: str, reason: str, *, times: int = 1) -> list[str]:
        """Wait for events on a FlowMachine, which come after the status that they explain; returns their messages."""

        async def look() -> list[str] | None:
            events = await self.api.list(EVENT.path(self.namespace))
            told = [e["message"] for e in events if e["involvedObject"]["name"] == machine and e["reason"] == reason]
            return told if len(told) >= times else None

        messages: list[str] = await until(look, f"{machine}: {times} events {reason}")
        return messages

    async def until_quiet(self, operator: OperatorProcess) -> None:
        """Wait until nothing was written for two seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        count, since = await asyncio.to_thread(operator.writes), loop.time()
        while loop.time() - since < 2.0:
            assert loop.time() < deadline, f"the operator does not stop writing: {operator.metrics()}"
            await asyncio.sleep(_POLL_SECONDS)
            now = await asyncio.to_thread(operator.writes)
            if now != count:
                count, since = now, loop.time()

    async def run_node(self) -> None:
        """Make pods ready, until cancelled."""
        while True:
            for pod in await self.api.list(POD.path(self.namespace)):
                metadata, status = pod["metadata"], pod.get("status", {})
                is_held = metadata["labels"].get("app.kubernetes.io/instance") in self.holds_back
                if "deletionTimestamp" in metadata or status.get("phase") == "Running" or is_held:
                    continue
                path = POD.path(self.namespace, metadata["name"], "status")
                with contextlib.suppress(Exception):  # it was deleted meanwhile
                    await self.api.patch(path, {"status": build_running_status(pod, is_ready=True)})
            await asyncio.sleep(_POLL_SECONDS)

    def tail(self) -> str:
        """The end of what the operators said."""
        return "\n".join(operator.log.read_text("utf-8")[-3000:] for operator in self.operators)


async def forget_lease(api: KubeApi) -> None:
    """Nobody holds the Lease: an operator that was killed in a test before does not make the next one wait."""
    path = LEASE.path(SYSTEM, "flowmachine-operator")
    if lease := await api.get(path):
        await api.delete(path, uid=lease["metadata"]["uid"])


async def open_api(kubeconfig: Path) -> KubeApi:
    """The API server as the user of a kubeconfig."""
    configuration = kube_client.Configuration()
    loaders: Any = kube_config
    await loaders.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    return KubeApi(configuration)


@pytest.fixture
async def lab(operator_cluster: OperatorCluster, namespace: str, tmp_path: Path) -> AsyncGenerator[Lab]:
    """A namespace with a node that makes pods ready."""
    api = await open_api(operator_cluster.cluster.kubeconfig)
    for crd in CRD_NAMES:
        if await api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}") is None:
            await asyncio.to_thread(install_crds, operator_cluster.kubectl)
    await forget_lease(api)
    lab = Lab(operator_cluster, namespace, api, tmp_path, operator_cluster.kubeconfig)
    node = asyncio.create_task(lab.run_node())
    try:
        yield lab
    finally:
        node.cancel()
        for operator in lab.operators:
            if operator.process.poll() is None:
                operator.resume()
                operator.kill()
        for machine in await api.list(FLOW_MACHINE.path(namespace)):
            if machine["metadata"].get("finalizers"):
                path = FLOW_MACHINE.path(namespace, machine["metadata"]["name"])
                await api.patch(path, {"metadata": {"finalizers": None}})
        await api.close()


@pytest.fixture
def pod_monitors(kubernetes_cluster: KubernetesCluster) -> Iterator[None]:
    """The cluster knows the kind PodMonitor; the operator finds that out when it starts after this."""
    with foreign_kinds(kubernetes_cluster.kubectl, "monitoring.coreos.com", "PodMonitor"):
        yield


async def resource_versions(lab: Lab) -> dict[str, str]:
    """Of all objects of the lab that an operator may write."""
    found = json.loads(await lab.run_kubectl("get", "fm,deploy,svc,pdb,sa,cm,secret,event", "-o", "json"))
    return {
        f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in found["items"]
    }
