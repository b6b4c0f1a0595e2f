"""From `kubectl apply` to running engines, and back into step whatever happens to the children or to the operator."""

import asyncio
import json
from typing import Any

import pytest

from flowmachine_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    FLOW_MACHINE,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
)
from tests.support.flow_machines import flow_machine, topics_for, two_states
from tests.support.kafka import KafkaBroker
from tests.support.operator import Lab, forget_lease, resource_versions, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


async def running(lab: Lab, broker: KafkaBroker, name: str = "orders", **spec: Any) -> dict[str, Any]:
    """A machine that runs, and its manifest as it was applied."""
    prefix = await topics_for(broker.bootstrap)
    manifest = flow_machine(name, broker.bootstrap, prefix=prefix, **spec)
    await lab.apply(manifest)
    await lab.until_ready(name)
    return manifest


async def test_a_machine_becomes_running_engines(lab: Lab, kafka_broker: KafkaBroker) -> None:
    operator = await lab.start_operator()
    await running(lab, kafka_broker)
    machine = await lab.machine("orders")
    assert machine is not None
    status = machine["status"]
    assert (status["replicas"], status["readyReplicas"], status["partitions"]) == (2, 2, 2)
    for kind in (DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, POD_DISRUPTION_BUDGET):
        child = await lab.child(kind, "fm-orders")
        assert child is not None
        assert child["metadata"]["ownerReferences"][0]["uid"] == machine["metadata"]["uid"]
    assert await lab.child(SECRET, "fm-orders-literals") is None
    assert len(await lab.config_maps()) == 1
    assert "orders   Running   2       2         2" in await lab.run_kubectl("get", "fm")
    await lab.run_kubectl("wait", "--for=condition=Ready", "fm/orders", "--timeout=5s")
    assert operator.stop() == 0


async def test_nothing_of_a_users_object_is_changed(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """No annotation, no finalizer, no field of the spec: our managers own the status alone."""
    await lab.start_operator()
    manifest = await running(lab, kafka_broker)
    machine = await lab.machine("orders")
    assert machine is not None
    assert machine["spec"] == manifest["spec"]
    assert "annotations" not in machine["metadata"]
    assert "finalizers" not in machine["metadata"]
    ours = [item for item in machine["metadata"]["managedFields"] if item["manager"] != "user"]
    assert [(item["manager"], item.get("subresource")) for item in ours] == [("flowmachine-operator-status", "status")]
    assert set(ours[0]["fieldsV1"]) == {"f:status"}


async def test_children_come_back_and_foreign_fields_stay(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix)
    manifest["spec"]["channels"].append({"id": "mail", "rest": {"host": "mail", "headers": {"X-Key": "literal"}}})
    await lab.apply(manifest)
    await lab.until_ready("orders")
    (config_map,) = await lab.config_maps()
    config_name = config_map["metadata"]["name"]

    # Deleted: all at once.
    named = [(SERVICE, "fm-orders"), (SERVICE_ACCOUNT, "fm-orders"), (POD_DISRUPTION_BUDGET, "fm-orders")]
    named += [(SECRET, "fm-orders-literals"), (CONFIG_MAP, config_name), (DEPLOYMENT, "fm-orders")]
    before = {(kind, name): await lab.child(kind, name) for kind, name in named}
    assert all(before.values())
    started = asyncio.get_running_loop().time()
    for (kind, _name), child in before.items():
        assert child is not None
        await lab.api.delete(kind.path(lab.namespace, child["metadata"]["name"]), uid=child["metadata"]["uid"])
    for (kind, name), child in before.items():
        assert child is not None

        async def is_another(kind: Any = kind, name: str = name, uid: str = child["metadata"]["uid"]) -> bool:
            found = await lab.child(kind, name)
            return found is not None and found["metadata"]["uid"] != uid

        await until(is_another, f"{kind.kind} {name} is back")
    print(f"deleted children were back after {asyncio.get_running_loop().time() - started:.1f} s")  # noqa: T201

    # Edited by hand: ours is restored, what others added stays.
    edits: dict[str, Any] = {
        "spec": {
            "replicas": 7,
            "template": {
                "spec": {"containers": [{"name": "engine", "image": "evil:1"}, {"name": "s", "image": "s:1"}]}
            },
        },
        "metadata": {"annotations": {"example.org/note": "mine"}, "labels": {"example.org/team": "shop"}},
    }
    started = asyncio.get_running_loop().time()
    await lab.run_kubectl("patch", "deployment", "fm-orders", "--type=strategic", "-p", json.dumps(edits))
    await lab.run_kubectl(
        "patch", "service", "fm-orders", "-p", json.dumps({"spec": {"ports": [{"port": 80, "targetPort": 1}]}})
    )
    await lab.run_kubectl(
        "patch", "secret", "fm-orders-literals", "-p", json.dumps({"data": {"channels.1.rest.headers.X-Key": "eA=="}})
    )

    async def is_restored() -> bool:
        deployment, service = await lab.child(DEPLOYMENT, "fm-orders"), await lab.child(SERVICE, "fm-orders")
        secret = await lab.child(SECRET, "fm-orders-literals")
        assert deployment is not None
        assert service is not None
        assert secret is not None
        containers = {item["name"]: item["image"] for item in deployment["spec"]["template"]["spec"]["containers"]}
        return (
            deployment["spec"]["replicas"] == 2
            and containers == {"engine": "flowmachine:test", "s": "s:1"}
            and service["spec"]["ports"][0]["targetPort"] == "http"
            and list(secret["data"].values()) == ["bGl0ZXJhbA=="]
        )

    await until(is_restored, "the children are as they were")
    print(f"edited children were restored after {asyncio.get_running_loop().time() - started:.1f} s")  # noqa: T201
    deployment = await lab.child(DEPLOYMENT, "fm-orders")
    assert deployment is not None
    assert deployment["metadata"]["annotations"]["example.org/note"] == "mine"
    assert deployment["metadata"]["labels"]["example.org/team"] == "shop"


async def test_quiet_resyncs_write_nothing(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """200 forced looks: no write, no event, every object as it was."""
    operator = await lab.start_operator(resync_seconds="1", facts_seconds="1")
    # The API server writes these quantities in another way than they are sent.
    template = {"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}}
    names = [f"orders-{number}" for number in range(8)]
    await asyncio.gather(*(running(lab, kafka_broker, name, template=template) for name in names))
    await lab.until_quiet(operator)
    versions = await resource_versions(lab)
    writes, passes = operator.writes(), operator.passes()
    rounds = 0
    while operator.passes() < passes + 200:
        rounds += 1
        note = {"metadata": {"annotations": {"example.org/poke": str(rounds)}}}
        for name in names:  # a touched child wakes its machine
            await lab.api.patch(SERVICE.path(lab.namespace, f"fm-{name}"), note)
        await asyncio.sleep(0.1)
    assert operator.writes() == writes
    after = await resource_versions(lab)
    untouched = [path for path in versions if not path.startswith("Service/")]
    assert {path: after[path] for path in untouched} == {path: versions[path] for path in untouched}
    assert {path for path in after if path.startswith("Event/")} == {
        path for path in versions if path.startswith("Event/")
    }


async def test_killed_in_the_middle_it_converges(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """kill -9 after each further write, until a pass is done; nothing is doubled, nothing is missing."""
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    for kind, name in ((SERVICE, "fm-orders"), (POD_DISRUPTION_BUDGET, "fm-orders"), (DEPLOYMENT, "fm-orders")):
        operator = await lab.start_operator(waits=False)
        await lab.until_child(kind, name)
        operator.kill()
        await forget_lease(lab.api)  # how long a dead one is waited for is shown elsewhere
    await lab.start_operator()
    await lab.until_ready("orders")
    assert len(await lab.config_maps()) == 1
    assert await lab.replicas("orders") == 2


async def test_a_changed_machine_rolls_out_one_by_one(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    manifest = await running(lab, kafka_broker)
    before = await lab.machine("orders")
    assert before is not None
    manifest["spec"]["machine"]["states"] = two_states(last="settled")
    least = 2

    async def watch_least() -> None:
        nonlocal least
        while True:
            deployment = await lab.child(DEPLOYMENT, "fm-orders")
            assert deployment is not None
            least = min(least, deployment["status"].get("readyReplicas", 0))
            assert len(await lab.api.list(POD.path(lab.namespace))) <= 2
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch_least())
    await lab.apply(manifest)
    after = await lab.until_ready("orders")
    watching.cancel()
    assert least >= 1
    assert after["status"]["revision"] != before["status"]["revision"]
    assert len(await lab.config_maps()) == 2
    assert len(await lab.until_told("orders", "Revision")) == 1


async def test_old_config_maps_go(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    manifest = await running(lab, kafka_broker)
    for number in range(4):
        manifest["spec"]["machine"]["states"] = two_states(last=f"paid-{number}")
        await lab.apply(manifest)
        await lab.until_ready("orders")

    async def is_pruned() -> bool:
        return len(await lab.config_maps()) == 4

    await until(is_pruned, "the current ConfigMap and three before it")


async def test_a_bad_machine_over_a_good_one_changes_no_engine(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    manifest = await running(lab, kafka_broker)
    good = await lab.child(DEPLOYMENT, "fm-orders")
    assert good is not None
    # The API server takes it; `flowmachine check` does not.
    manifest["spec"]["machine"]["states"][0]["outgoingTransitions"][0]["payloadValidationSchema"] = {"type": "nonsense"}
    await lab.apply(manifest)
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="MachineInvalid")
    assert "spec.machine.states[0].outgoingTransitions[0].payloadValidationSchema" in stalled["message"]
    assert "The revision before runs on, 2 of 2 engines are ready" in stalled["message"]
    now = await lab.child(DEPLOYMENT, "fm-orders")
    assert now is not None
    assert now["metadata"]["generation"] == good["metadata"]["generation"]
    del manifest["spec"]["machine"]["states"][0]["outgoingTransitions"][0]["payloadValidationSchema"]
    await lab.apply(manifest)
    await lab.until_ready("orders")


async def test_scale_and_pause(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    await running(lab, kafka_broker)
    await lab.run_kubectl("scale", "fm/orders", "--replicas=1")
    assert (await lab.until_ready("orders"))["status"]["replicas"] == 1
    await lab.run_kubectl("scale", "fm/orders", "--replicas=0")
    assert (await lab.until_ready("orders", reason="Paused"))["status"]["readyReplicas"] == 0
    notes = await lab.until_told("orders", "Scaled", times=2)
    assert sorted(notes) == ["from 1 to 0 engines", "from 2 to 1 engines"]


async def test_kstatus(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """One of Ready, Reconciling and Stalled at a time; times change with the status only."""
    await lab.start_operator()
    lab.holds_back.add("orders")
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    reconciling = await lab.until_condition("orders", "Reconciling", status="True", reason="EnginesNotReady")
    assert (await lab.condition("orders", "Ready"))["status"] == "False"
    assert (await lab.condition("orders", "Stalled"))["status"] == "False"
    valid = await lab.condition("orders", "MachineValid")
    lab.holds_back.clear()
    machine = await lab.until_ready("orders")
    assert machine["status"]["observedGeneration"] == machine["metadata"]["generation"]
    conditions = {item["type"]: item for item in machine["status"]["conditions"]}
    assert {item["observedGeneration"] for item in conditions.values()} == {machine["metadata"]["generation"]}
    assert conditions["MachineValid"]["lastTransitionTime"] == valid["lastTransitionTime"]
    assert conditions["Reconciling"]["status"] == conditions["Stalled"]["status"] == "False"
    assert conditions["Reconciling"]["lastTransitionTime"] >= reconciling["lastTransitionTime"]


async def test_another_ones_service_is_not_taken(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "fm-orders"},
        "spec": {"ports": [{"port": 1}]},
    }
    await lab.apply(service)
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="ChildRefused")
    assert "the Service fm-orders exists and is not this FlowMachine's" in stalled["message"]
    found = await lab.child(SERVICE, "fm-orders")
    assert found is not None
    assert found["spec"]["ports"][0]["port"] == 1
    await lab.run_kubectl("delete", "service", "fm-orders")
    await lab.until_ready("orders")


async def test_what_the_api_server_refuses_is_told(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine(
        "orders", kafka_broker.bootstrap, prefix=prefix, template={"resources": {"limits": {"cpu": "lots"}}}
    )
    await lab.apply(manifest)
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="ChildRefused")
    assert "the API server refuses the Deployment fm-orders" in stalled["message"]
    manifest["spec"]["template"]["resources"]["limits"]["cpu"] = "1"
    await lab.apply(manifest)
    await lab.until_ready("orders")


async def test_deleted_machines_take_their_children_along(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """Also while no operator runs: nothing of ours stands in the way."""
    operator = await lab.start_operator()
    await running(lab, kafka_broker)
    operator.kill()
    await lab.run_kubectl("delete", "fm", "orders", "--timeout=10s")

    async def is_gone() -> bool:
        left = json.loads(await lab.run_kubectl("get", "deploy,svc,pdb,cm,pod", "-o", "json"))["items"]
        return not [item for item in left if item["metadata"]["name"] != "kube-root-ca.crt"]

    await until(is_gone, "the children are gone")
    assert await lab.api.get(FLOW_MACHINE.path(lab.namespace, "orders")) is None
