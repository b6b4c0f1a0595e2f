"""Saga objects of real engines, with the rights that the operator gives them while their store needs them.

The rights are out of the chart's own; the engine has nothing but what every pod has: a token and an address.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dev.toxiproxy import Toxiproxy
from flowmachine_operator.kinds import DEPLOYMENT, ROLE, ROLE_BINDING
from tests.support.flow_machines import flow_machine, topics_for
from tests.support.kafka import KafkaBroker
from tests.support.kubelet import create_saga, running_kubelet
from tests.support.operator import Lab, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


async def test_rights_come_and_go_with_the_store(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix)
    manifest["spec"]["persistence"] = {"type": "kubernetes", "configurations": {"maxObjects": 50}}
    await lab.apply(manifest)
    await lab.until_ready("orders")
    role, binding = await lab.child(ROLE, "fm-orders"), await lab.child(ROLE_BINDING, "fm-orders")
    assert role is not None
    assert binding is not None
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = f"system:serviceaccount:{lab.namespace}:fm-orders"
    for verb, what in (
        ("patch", "sagas.flowmachine.io"),
        ("list", "sagas.flowmachine.io"),
        ("get", "flowmachines.flowmachine.io/orders"),
    ):
        assert (await lab.run_kubectl("auth", "can-i", verb, what, f"--as={account}")).strip() == "yes", (verb, what)
    deployment = await lab.child(DEPLOYMENT, "fm-orders")
    assert deployment is not None
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is True

    manifest["spec"]["persistence"] = {"type": "none"}
    await lab.apply(manifest)

    async def is_gone() -> bool:
        found: list[Any] = [await lab.child(kind, "fm-orders") for kind in (ROLE, ROLE_BINDING)]
        return found == [None, None]

    await until(is_gone, "the Role and its binding are removed")


@pytest.mark.timeout(180)
async def test_engine_makes_objects_up_to_the_bound_and_the_machine_says_so(
    lab: Lab, kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, scaling={"replicas": 1})
    manifest["spec"]["persistence"] = {"type": "kubernetes", "configurations": {"maxObjects": 2}}
    await lab.apply(manifest)
    async with running_kubelet(lab, "orders", tmp_path) as kubelet:
        await lab.until_condition("orders", "StoreReady", status="True", reason="StoreWorking")
        (pod,) = kubelet.pods.values()
        for _ in range(3):
            await asyncio.to_thread(create_saga, pod.url)
        full = await lab.until_condition("orders", "StoreReady", status="False", reason="StoreFull")
        assert "there are 2 Saga objects: that is `maxObjects`" in full["message"]
        assert (await lab.condition("orders", "Ready"))["status"] == "True"
        await lab.until_told("orders", "StoreFull")
        heading, *rows = (await lab.run_kubectl("get", "sagas")).splitlines()
        assert heading.split() == ["NAME", "MACHINE", "STATE", "BUSINESS", "STATE", "AGE"]
        assert [row.split()[1:3] for row in rows] == [["orders", "created"]] * 2

        manifest["spec"]["persistence"]["configurations"]["maxObjects"] = 10
        await lab.apply(manifest)
        await lab.until_condition("orders", "StoreReady", status="True", reason="StoreWorking")


@pytest.mark.timeout(240)
async def test_api_server_that_is_away_under_load_delays_the_objects_only(
    lab: Lab, kafka_broker: KafkaBroker, tmp_path: Path, toxiproxy: Toxiproxy
) -> None:
    """Away for the engine alone: the operator goes on to tell what that one says."""
    link = toxiproxy.link(lab.cluster.cluster.own_cluster().layout.server.removeprefix("https://"))
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, scaling={"replicas": 1})
    manifest["spec"]["persistence"] = {"type": "kubernetes"}
    await lab.apply(manifest)
    async with running_kubelet(lab, "orders", tmp_path, api_server=link.address) as kubelet:
        await lab.until_condition("orders", "StoreReady", status="True", reason="StoreWorking")
        (pod,) = kubelet.pods.values()
        created: set[str] = set()
        for number in range(60):
            if number == 20:
                await asyncio.to_thread(link.cut)
            created.add(await asyncio.to_thread(create_saga, pod.url))
        away = await lab.until_condition("orders", "StoreReady", status="False", reason="StoreUnavailable")
        assert "the API server does not answer" in away["message"]
        assert (await lab.condition("orders", "Ready"))["status"] == "True"
        await asyncio.to_thread(link.heal)
        await lab.until_condition("orders", "StoreReady", status="True", reason="StoreWorking")

        async def all_there() -> bool:
            names = (await lab.run_kubectl("get", "sagas", "-o", "name")).split()
            return {name.rpartition("/orders.")[2] for name in names} == created

        await until(all_there, "every saga has its object")
