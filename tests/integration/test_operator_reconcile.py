"""From `kubectl apply` to running engines, and back into step whatever happens to the children."""

import pytest

from flowmachine_operator.kinds import DEPLOYMENT, POD_DISRUPTION_BUDGET, SECRET, SERVICE, SERVICE_ACCOUNT
from tests.support.kafka import KafkaBroker, create_topics, unique_name
from tests.support.operator import Lab, flow_machine

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


async def topics_for(broker: KafkaBroker, *, partitions: int = 2) -> str:
    prefix = unique_name("orders")
    await create_topics(broker.bootstrap, {f"{prefix}-events": partitions, f"{prefix}-commands": partitions})
    return prefix


async def test_a_machine_becomes_running_engines(lab: Lab, kafka_broker: KafkaBroker) -> None:
    prefix = await topics_for(kafka_broker)
    await lab.start_operator()
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    machine = await lab.until_ready("orders")
    status = machine["status"]
    assert (status["replicas"], status["readyReplicas"], status["partitions"]) == (2, 2, 2)
    for kind in (DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, POD_DISRUPTION_BUDGET):
        child = await lab.child(kind, "fm-orders")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == machine["metadata"]["uid"]
    assert await lab.child(SECRET, "fm-orders-literals") is None
    assert len(await lab.config_maps()) == 1
    assert "annotations" not in machine["metadata"]
    assert "finalizers" not in machine["metadata"]
