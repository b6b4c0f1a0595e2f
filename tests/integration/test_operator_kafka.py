"""What the operator learns from Kafka and from Secrets, and what it says when they are not as they should be."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.admin import NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from dev.kafka import KafkaCluster
from flowmachine_operator.kinds import DEPLOYMENT
from tests.support.flow_machines import flow_machine, topics_for
from tests.support.kafka import KafkaBroker, StartCluster, admin_client, create_topics, start_test_broker, unique_name
from tests.support.operator import Lab, until

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]


OF_THE_TOPIC = 1
"""Where a setting comes from, as Kafka's protocol has it: not from the broker."""


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[KafkaCluster]:
    cluster = start_test_broker(brokers=3)
    yield cluster
    cluster.close()


def secret(name: str, **values: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


async def secrets_mark(lab: Lab) -> str:
    deployment = await lab.child(DEPLOYMENT, "fm-orders")
    assert deployment is not None
    mark: str = deployment["spec"]["template"]["metadata"]["annotations"]["flowmachine.io/secrets"]
    return mark


async def read_topics(bootstrap: str, names: list[str]) -> dict[str, tuple[int, int, dict[str, str]]]:
    """Partitions, replicas and the topic's own settings, as the brokers have them."""
    async with admin_client(bootstrap) as admin:
        described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(names)}
        answers: list[Any] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, n) for n in names])
    own = {
        name: {key: value for key, value, _, source, *_ in entries if source == OF_THE_TOPIC}
        for answer in answers
        for _, _, _, name, entries in answer.resources
    }
    return {name: (len(parts), len(parts[0]["replicas"]), own[name]) for name, parts in described.items()}


@pytest.mark.parametrize(
    ("settings", "replicas", "told"),
    [
        ({}, 3, {}),
        ({"replicationFactor": 2, "minInSyncReplicas": 2}, 2, {"min.insync.replicas": "2"}),
    ],
)
async def test_internal_topics_are_made_as_told(
    lab: Lab, three_brokers: KafkaCluster, settings: dict[str, int], replicas: int, told: dict[str, str]
) -> None:
    await lab.start_operator()
    prefix = await topics_for(three_brokers.bootstrap, partitions=3)
    stem = unique_name("own")
    internal = {"prefix": f"{stem}.", **settings}
    manifest = flow_machine(
        "orders", three_brokers.bootstrap, prefix=prefix, settings={"internalTopics": internal, "homePartitions": 5}
    )
    await lab.apply(manifest)
    await lab.until_ready("orders")
    intake, sagas, unmatched = (f"{stem}.{lab.namespace}.orders.{part}" for part in ("intake", "sagas", "unmatched"))
    assert await read_topics(three_brokers.bootstrap, [intake, sagas, unmatched]) == {
        intake: (5, replicas, {"cleanup.policy": "delete", **told}),
        sagas: (
            5,
            replicas,
            {
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.3",
                "segment.bytes": str(64 * 1024 * 1024),
                "segment.ms": str(3600 * 1000),
                **told,
            },
        ),
        unmatched: (5, replicas, {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3600 * 1000), **told}),
    }


async def test_expected_topics_are_not_made(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    own = f"{unique_name('own')}."
    settings = {"internalTopics": {"prefix": own, "create": False}}
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, settings=settings))
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="TopicMissing")
    names = [f"{own}{lab.namespace}.orders.{part}" for part in ("intake", "sagas", "unmatched")]
    assert all(name in stalled["message"] for name in names)
    await create_topics(kafka_broker.bootstrap, dict.fromkeys(names, 2))
    await lab.until_ready("orders")


async def test_a_missing_topic_is_named_and_the_condition_goes_by_itself(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = unique_name("orders")
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="TopicMissing")
    assert f"{prefix}-commands, {prefix}-events" in stalled["message"]
    assert await lab.replicas("orders") == 0
    await create_topics(kafka_broker.bootstrap, {f"{prefix}-events": 2, f"{prefix}-commands": 2})
    await lab.until_ready("orders")


async def test_more_partitions_more_engines(lab: Lab, kafka_broker: KafkaBroker) -> None:
    """2 -> 4; the sagas stay where they are, and a cap holds."""
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix)
    await lab.apply(manifest)
    assert (await lab.until_ready("orders"))["status"]["replicas"] == 2
    async with admin_client(kafka_broker.bootstrap) as admin:
        await admin.create_partitions({f"{prefix}-events": NewPartitions(4)})

    async def has_four() -> bool:
        return await lab.replicas("orders") == 4

    await until(has_four, "four engines")
    ready = await lab.until_condition("orders", "Ready", status="True")
    assert ready["message"] == "4 of 4 engines are ready, 2 of them without a partition"
    machine = await lab.machine("orders")
    assert machine is not None
    assert machine["status"]["partitions"] == 2
    aligned = await lab.condition("orders", "PartitionsAligned")
    assert (aligned["status"], aligned["reason"]) == ("False", "PartitionsDiffer")
    assert f"{prefix}-events has 4" in aligned["message"]
    manifest["spec"]["scaling"] = {"maxReplicas": 3}
    await lab.apply(manifest)
    assert (await lab.until_ready("orders"))["status"]["replicas"] == 3


async def test_kafka_away_first_and_later(lab: Lab, kafka_cluster: StartCluster) -> None:
    """Away at first: nothing starts, and why is said. Away later: what runs goes on. Both go by themselves."""
    broker = kafka_cluster()
    prefix = await topics_for(broker.bootstrap)
    await asyncio.to_thread(broker.kill, 1)
    await lab.start_operator()
    await lab.apply(flow_machine("orders", broker.bootstrap, prefix=prefix))
    reconciling = await lab.until_condition("orders", "Reconciling", status="True", reason="KafkaUnreachable")
    assert "no engine is started before Kafka answers: the brokers do not answer" in reconciling["message"]
    assert broker.bootstrap in reconciling["message"]
    assert await lab.replicas("orders") == 0
    await asyncio.to_thread(broker.start_broker, 1)
    await lab.until_ready("orders")
    await asyncio.to_thread(broker.kill, 1)
    away = await lab.until_condition("orders", "KafkaReachable", status="False", reason="Unreachable")
    assert "2 engines go on" in away["message"]
    assert await lab.replicas("orders") == 2
    assert (await lab.condition("orders", "Ready"))["status"] == "True"
    await asyncio.to_thread(broker.start_broker, 1)
    await lab.until_condition("orders", "KafkaReachable", status="True")
    told = await lab.until_told("orders", "Unreachable", times=2)
    assert len(told) == 2, "once for each time it was away"


def secure_machine(cluster: KafkaCluster, prefix: str) -> dict[str, Any]:
    manifest = flow_machine("orders", cluster.bootstrap_of("SASL_PLAINTEXT"), prefix=prefix)
    manifest["spec"]["channels"][0]["kafka"]["sasl"] = {
        "mechanism": "scram-sha-256",
        "username": "admin",
        "password": {"secretKeyRef": {"name": "kafka", "key": "password"}},
    }
    return manifest


async def test_secrets(lab: Lab, kafka_secure_broker: KafkaCluster) -> None:
    """Missing, without the key, wrong, right, rotated: each is told, goes by itself, and the engines follow."""
    operator = await lab.start_operator()
    prefix = await topics_for(kafka_secure_broker.bootstrap)
    await lab.apply(secure_machine(kafka_secure_broker, prefix))
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="SecretMissing")
    assert stalled["message"] == "create the Secret or the key: kafka"
    await lab.apply(secret("kafka", other="x"))

    async def names_key() -> bool:
        return (await lab.condition("orders", "Stalled"))["message"].endswith("kafka/password")

    await until(names_key, "the key is named")
    await lab.apply(secret("kafka", password="not-the-password"))
    refused = await lab.until_condition("orders", "Stalled", status="True", reason="KafkaRefused")
    assert "check sasl, tls and its rights" in refused["message"]
    await lab.apply(secret("kafka", password=kafka_secure_broker.settings.users["admin"]))
    await lab.until_ready("orders")

    # Rotated to something wrong: the engines that run are left alone, and why is said.
    mark = await secrets_mark(lab)
    await lab.apply(secret("kafka", password="not-the-password"))
    await lab.until_condition("orders", "Stalled", status="True", reason="KafkaRefused")
    assert await secrets_mark(lab) == mark
    # An annotation is no rotation; another key of the Secret is, because it may be mounted.
    await lab.apply(secret("kafka", password=kafka_secure_broker.settings.users["admin"]))
    await lab.until_ready("orders")
    await lab.run_kubectl("annotate", "secret", "kafka", "note=1")
    await lab.until_quiet(operator)
    assert await secrets_mark(lab) == mark
    await lab.apply(secret("kafka", password=kafka_secure_broker.settings.users["admin"], more="x"))

    async def is_rotated() -> bool:
        return await secrets_mark(lab) != mark

    await until(is_rotated, "the engines start anew")
    # Nothing that was secret shows anywhere but in Secrets.
    shown = await lab.run_kubectl("get", "fm,cm,deploy,event", "-o", "json")
    for password in ("not-the-password", kafka_secure_broker.settings.users["admin"]):
        assert password not in shown.replace(json.dumps(base64.b64encode(password.encode()).decode()), "")
        assert password not in operator.log.read_text("utf-8")


async def test_the_second_in_a_consumer_group_is_told(lab: Lab, kafka_broker: KafkaBroker) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("first", kafka_broker.bootstrap, prefix=prefix))
    await lab.until_ready("first")
    await lab.apply(flow_machine("second", kafka_broker.bootstrap, prefix=prefix))
    stalled = await lab.until_condition("second", "Stalled", status="True", reason="MachineInvalid")
    assert f"the consumer group '{prefix}' is used by the FlowMachine {lab.namespace}/first" in stalled["message"]
    assert await lab.child(DEPLOYMENT, "fm-second") is None
    thief = flow_machine("thief", kafka_broker.bootstrap, prefix=unique_name("thief"))
    own = f"flowmachine.{lab.namespace}.first.intake"
    thief["spec"]["channels"][0]["kafka"]["inputTopics"] = [own]
    await lab.apply(thief)
    stalled = await lab.until_condition("thief", "Stalled", status="True", reason="MachineInvalid")
    assert f"the topic '{own}' is the FlowMachine {lab.namespace}/first's own" in stalled["message"]
    assert (await lab.condition("first", "Ready"))["status"] == "True"
    await lab.run_kubectl("delete", "fm", "first")
    await lab.until_ready("second")


async def test_deletion_policy_delete_removes_topics_once_engines_have_ended(
    lab: Lab, kafka_broker: KafkaBroker
) -> None:
    await lab.start_operator()
    prefix = await topics_for(kafka_broker.bootstrap)
    for name, policy in (("kept", "Retain"), ("removed", "Delete")):
        manifest = flow_machine(name, kafka_broker.bootstrap, prefix=prefix, deletionPolicy=policy)
        manifest["spec"]["channels"][0]["kafka"]["consumerGroup"] = f"{prefix}-{name}"
        await lab.apply(manifest)
        await lab.until_ready(name)
    machine = await lab.machine("removed")
    assert machine is not None
    assert machine["metadata"]["finalizers"] == ["flowmachine.io/topics"]
    assert machine["spec"] == manifest["spec"]
    await lab.run_kubectl("delete", "fm", "kept", "removed", "--timeout=60s")
    names = [f"flowmachine.{lab.namespace}.{name}.sagas" for name in ("kept", "removed")]
    async with admin_client(kafka_broker.bootstrap) as admin:
        found = {
            topic["topic"]: topic["error_code"] for topic in await admin.describe_topics([*names, f"{prefix}-events"])
        }
    assert found[names[0]] == 0
    assert found[names[1]] != 0
    assert found[f"{prefix}-events"] == 0
    # Changed back, it is an object like any other.
    manifest = flow_machine("again", kafka_broker.bootstrap, prefix=prefix, deletionPolicy="Delete")
    await lab.apply(manifest)
    await lab.until_ready("again")
    del manifest["spec"]["deletionPolicy"]
    await lab.apply(manifest)

    async def is_free() -> bool:
        found = await lab.machine("again")
        return found is not None and "finalizers" not in found["metadata"]

    await until(is_free, "no finalizer")


async def test_a_deletion_that_cannot_reach_kafka_says_how_to_get_out(lab: Lab, kafka_cluster: StartCluster) -> None:
    broker = kafka_cluster()
    await lab.start_operator()
    prefix = await topics_for(broker.bootstrap)
    await lab.apply(flow_machine("orders", broker.bootstrap, prefix=prefix, deletionPolicy="Delete"))
    await lab.until_ready("orders")
    await asyncio.to_thread(broker.kill, 1)
    await lab.run_kubectl("delete", "fm", "orders", "--wait=false")

    async def says_why() -> bool:
        ready = await lab.condition("orders", "Ready")
        return ready["reason"] == "Deleting" and "To keep them, set deletionPolicy: Retain" in ready["message"]

    await until(says_why, "why it waits")
    await lab.run_kubectl("patch", "fm", "orders", "--type=merge", "-p", '{"spec":{"deletionPolicy":"Retain"}}')
    await lab.run_kubectl("wait", "--for=delete", "fm/orders", "--timeout=60s")
