"""What the product is for, once from end to end: a chart is installed, a machine applied, and orders are delivered.

Meanwhile engines are deleted one after the other, some without warning, and the operators are restarted. In the end the
auditor proves from the topics that nothing was lost, doubled or changed.
"""

import asyncio
import json
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from helm_python import Config

from dev.cluster import Kubectl
from flowmachine.participants import Command, Event, KafkaTransport, Participant
from tests.e2e.conftest import Stage
from tests.support.charts import CHART, RELEASE
from tests.support.eventually import eventually
from tests.support.kafka import create_topics
from tests.support.orders import STEPS, FinalStates, Orders, assert_exactly_once

pytestmark = [pytest.mark.e2e, pytest.mark.kafka, pytest.mark.timeout(1200)]

EXAMPLE = CHART.parents[1] / "examples/orders/flowmachine.yaml"
PARTITIONS = 3
SAGAS, ROUNDS = 1000, 5
ENGINES = "--selector=app.kubernetes.io/component=engine"
OPERATORS = "--selector=app.kubernetes.io/name=flowmachine-operator"
_CONCURRENT_REQUESTS = 16
_BUSY = {502, 503, 504}  # no engine is ready, or the one that was asked has just gone
_BROKERS = {"secretKeyRef": {"name": "kafka", "key": "brokers"}}
_READ_BROKERS = "print(open('/var/run/secrets/flowmachine/kafka/brokers').read())"
_WAIT = "240s"
_WAIT_SECONDS = 250.0


@pytest.fixture
def home(stage: Stage) -> Iterator[str]:
    """A namespace under the Pod Security Standard `restricted`."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    stage.kubectl("create", "namespace", name)
    stage.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    stage.kubectl("delete", "fm", "--all", "-n", name, "--ignore-not-found", timeout_seconds=_WAIT_SECONDS)
    stage.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def helm(stage: Stage, home: str) -> Iterator[Config]:
    with Config(kubeconfig_path=stage.kubectl.kubeconfig, namespace=home) as config:
        yield config
        config.uninstall(RELEASE, ignore_not_found=True)


async def test_chart_runs_orders_whatever_is_deleted(stage: Stage, home: str, helm: Config, tmp_path: Path) -> None:
    kubectl = stage.kubectl
    orders = Orders("orders", stage.bootstrap, tmp_path / "manifests/flowmachine.yaml", home)
    orders.file.parent.mkdir()
    orders.file.write_text(EXAMPLE.read_text().replace("[localhost:9092]", json.dumps(_BROKERS)))
    _tell_brokers(kubectl, home, stage.bootstrap)
    await create_topics(stage.bootstrap, {orders.events: PARTITIONS, orders.commands: PARTITIONS})

    # 1. Installed, and it says so itself.
    values = _values(stage)
    await asyncio.to_thread(helm.install, CHART, RELEASE, values, wait="watcher", timeout=240)
    await asyncio.to_thread(helm.test, RELEASE, timeout=120)

    # 2. A machine becomes ready, with one engine for each partition.
    kubectl("apply", "-n", home, "-f", str(orders.file.parent))
    await _wait_ready(kubectl, home)
    assert len(_pods(kubectl, home, ENGINES)) == PARTITIONS
    state, ready, desired, partitions = kubectl("get", "fm", "orders", "-n", home, "--no-headers").split()[1:5]
    assert (state, ready, desired, partitions) == ("Running", "3", "3", "3")

    # 3. Orders are created and go their way, while pods come and go.
    finals = FinalStates(orders)
    async with _participants(orders), _service(kubectl, home) as service:
        ids: list[str] = []
        for number in range(ROUNDS):
            ids += await _create_sagas(service, SAGAS // ROUNDS, number)
            _delete_an_engine(kubectl, home, is_forced=number % 2 == 0)
            if number == ROUNDS // 2:
                kubectl("delete", "pods", "-n", home, OPERATORS, "--wait=false")
        await finals.wait_for(ids, timeout_seconds=_WAIT_SECONDS)
    assert len(set(ids)) == SAGAS
    await assert_exactly_once(orders, ids, finals)

    # 4. All is well again, and the resource says what happened.
    await _wait_ready(kubectl, home)
    await eventually(
        lambda: _machine(kubectl, home)["status"]["sagas"].get("finished") == SAGAS,
        "the status counts the finished sagas",
        timeout_seconds=_WAIT_SECONDS,
    )

    # 5. A Secret is changed: engines that have its new content take the place of those that had the old one.
    engines = _pods(kubectl, home, ENGINES)
    _tell_brokers(kubectl, home, f"{stage.bootstrap},{stage.bootstrap}")
    await eventually(
        lambda: not set(engines) & set(_pods(kubectl, home, ENGINES)),
        "all engines are new",
        timeout_seconds=_WAIT_SECONDS,
    )
    await _wait_ready(kubectl, home)
    mounted = kubectl("exec", "-n", home, _pods(kubectl, home, ENGINES)[0], "--", "python3", "-c", _READ_BROKERS)
    assert mounted.strip() == f"{stage.bootstrap},{stage.bootstrap}"

    # 6. An upgrade of the chart leaves the engines alone, and so does its end.
    engines = _pods(kubectl, home, ENGINES)
    changed = values | {"replicas": 1, "log": {"level": "debug"}}
    await asyncio.to_thread(helm.upgrade, CHART, RELEASE, changed, wait="watcher", timeout=240)
    await _wait_ready(kubectl, home)
    await asyncio.to_thread(helm.uninstall, RELEASE, wait="watcher", timeout=120)
    assert _machine(kubectl, home)["metadata"]["name"] == "orders"
    assert _pods(kubectl, home, ENGINES) == engines

    # 7. Nothing was lost, doubled or changed.
    deployed = tmp_path / "deployed.yaml"
    deployed.write_text(kubectl("get", "fm", "orders", "-n", home, "-o", "yaml"))
    secret = tmp_path / "secrets/kafka/brokers"
    secret.parent.mkdir(parents=True)
    secret.write_text(stage.bootstrap)
    audit = await asyncio.to_thread(_audit, deployed, secret.parents[1])
    assert audit.returncode == 0, audit.stdout + audit.stderr


def _values(stage: Stage) -> dict[str, Any]:
    return {
        "image": {"repository": stage.repository, "tag": stage.tag},
        "tuning": {"factsSeconds": 5},
    }


def _tell_brokers(kubectl: Kubectl, home: str, brokers: str) -> None:
    """The Secret that the machine names has these."""
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kafka"}, "stringData": {"brokers": brokers}}
    kubectl("apply", "-n", home, "-f", "-", stdin=json.dumps(manifest))


async def _wait_ready(kubectl: Kubectl, home: str) -> None:
    arguments = ("wait", "--for=condition=Ready", "fm/orders", "-n", home, f"--timeout={_WAIT}")
    await asyncio.to_thread(kubectl, *arguments, timeout_seconds=_WAIT_SECONDS)


def _machine(kubectl: Kubectl, home: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(kubectl("get", "fm", "orders", "-n", home, "-o", "json"))
    return found


def _pods(kubectl: Kubectl, home: str, selector: str) -> list[str]:
    """Names of the pods that are not being deleted."""
    pods = json.loads(kubectl("get", "pods", "-n", home, selector, "-o", "json"))["items"]
    return sorted(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"])


def _delete_an_engine(kubectl: Kubectl, home: str, *, is_forced: bool) -> None:
    victim = random.choice(_pods(kubectl, home, ENGINES))
    options = ("--grace-period=0", "--force") if is_forced else ()
    kubectl("delete", "pod", victim, "-n", home, "--wait=false", *options)


@asynccontextmanager
async def _participants(orders: Orders) -> AsyncGenerator[None]:
    participant = Participant()
    for command, event in STEPS:
        participant.on(command)(_answer(event))
    transport = KafkaTransport([orders.bootstrap], [orders.commands], orders.events, "participants")
    run = asyncio.create_task(participant.run(transport))
    try:
        yield
    finally:
        run.cancel()
        (result,) = await asyncio.gather(run, return_exceptions=True)
        if isinstance(result, Exception):
            raise result


def _answer(event: str) -> Any:
    async def answer(command: Command) -> Event:
        return Event(event, {"paymentId": f"payment of {command.payload['order']}"})

    return answer


@asynccontextmanager
async def _service(kubectl: Kubectl, home: str) -> AsyncGenerator[aiohttp.ClientSession]:
    """The machine's Service by way of the API server, which reaches it from everywhere."""
    command = [kubectl.program, f"--kubeconfig={kubectl.kubeconfig}", "proxy", "--port=0"]
    proxy = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert proxy.stdout is not None
        address = (await proxy.stdout.readline()).decode().split()[-1]
        base = f"http://{address}/api/v1/namespaces/{home}/services/fm-orders:http/proxy/"
        async with aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield session
    finally:
        proxy.terminate()
        await proxy.wait()


async def _create_sagas(service: aiohttp.ClientSession, count: int, number: int) -> list[str]:
    """Create sagas, as a careful client does: a request without an answer is repeated under the same key."""
    gate = asyncio.Semaphore(_CONCURRENT_REQUESTS)

    async def create(order: str) -> str:
        body = {"associatedEntityId": order, "metadata": {"order": order}}
        async with gate:
            while True:
                try:
                    async with service.post("saga", json=body, headers={"Idempotency-Key": order}) as answer:
                        if answer.status not in _BUSY:
                            answer.raise_for_status()
                            saga_id: str = (await answer.json())["sagaId"]
                            return saga_id
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, TimeoutError):
                    pass
                await asyncio.sleep(0.1)

    async with asyncio.timeout(_WAIT_SECONDS):
        return list(await asyncio.gather(*(create(f"order-{number}-{index}") for index in range(count))))


def _audit(file: Path, secrets: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowmachine", "audit", "-f", str(file), "--secrets-dir", str(secrets)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_WAIT_SECONDS)
