"""The operator's process: who acts of two, what it waits for, what it may do."""

import asyncio
import json

import pytest

from flowmachine_operator.kinds import LEASE
from tests.support.flow_machines import flow_machine, topics_for
from tests.support.kafka import KafkaBroker
from tests.support.kubernetes import install_crds
from tests.support.operator import CRD, SYSTEM, Lab, resource_versions, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


async def holder(lab: Lab) -> str:
    lease = await lab.api.get(LEASE.path(SYSTEM, "flowmachine-operator"))
    assert lease is not None
    found: str = lease["spec"]["holderIdentity"]
    return found


async def test_of_two_operators_one_acts_and_the_other_takes_over(lab: Lab, kafka_broker: KafkaBroker) -> None:
    prefix = await topics_for(kafka_broker.bootstrap)
    first = await lab.start_operator(identity="first", lease_seconds="12")
    second = await lab.start_operator(identity="second", lease_seconds="12", waits=False)
    await until(lambda: asyncio.to_thread(second.is_ready), "the second stands by")
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    await lab.until_ready("orders")
    assert second.writes() == 0
    assert not second.is_leader()
    first.kill()
    started = asyncio.get_running_loop().time()
    await until(lambda: asyncio.to_thread(second.is_leader), "the second acts")
    print(f"took over {asyncio.get_running_loop().time() - started:.1f} s after kill -9")  # noqa: T201
    assert await holder(lab) == "second"
    await lab.run_kubectl("scale", "fm/orders", "--replicas=1")
    assert (await lab.until_ready("orders"))["status"]["replicas"] == 1

    # Asked to stop, it gives the Lease back.
    assert second.stop() == 0
    assert await holder(lab) == ""


async def test_an_operator_that_wakes_up_late_writes_nothing(lab: Lab, kafka_broker: KafkaBroker) -> None:
    prefix = await topics_for(kafka_broker.bootstrap)
    first = await lab.start_operator(identity="first")
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    await lab.until_ready("orders")
    first.pause()
    second = await lab.start_operator(identity="second")
    await lab.run_kubectl("scale", "fm/orders", "--replicas=1")  # something that the first would have to write about
    await lab.until_ready("orders")
    await lab.until_quiet(second)
    before = await resource_versions(lab)
    first.resume()
    assert await asyncio.to_thread(first.process.wait, 30) == 1
    assert "the Lease is not held any more" in first.log.read_text("utf-8")
    await lab.until_quiet(second)
    assert await resource_versions(lab) == before
    assert await holder(lab) == "second"


async def test_without_the_crd_it_waits(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.run_kubectl("delete", "crd", CRD)
    operator = await lab.start_operator()

    async def says_so() -> bool:
        return "FlowMachines cannot be listed yet" in operator.log.read_text("utf-8")

    await until(says_so, "it says that it waits")
    assert operator.is_ready()
    await asyncio.to_thread(install_crds, lab.cluster.kubectl)
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    await lab.until_ready("orders")
    assert operator.process.poll() is None


async def test_it_tells_how_it_is(lab: Lab) -> None:
    operator = await lab.start_operator()
    found = operator.metrics()
    assert found["flowmachine_operator_leader"] == 1
    shown = json.loads(await lab.run_kubectl("get", "lease", "-n", SYSTEM, "flowmachine-operator", "-o", "json"))
    assert shown["spec"]["leaseDurationSeconds"] == 6
