"""The operator gives engines rights for Saga objects, out of the chart's own, only while their store needs them."""

from typing import Any

import pytest

from flowmachine_operator.kinds import DEPLOYMENT, ROLE, ROLE_BINDING
from tests.support.kafka import KafkaBroker
from tests.support.operator import Lab, flow_machine, topics_for, until

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
