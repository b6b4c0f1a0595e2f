"""Stopping aiokafka's clients when Kafka is away: they are closed, and whoever stops one goes on."""

import asyncio
import logging

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from flowmachine.adapters.kafka.connection import stop_client
from tests.support.eventually import eventually
from tests.support.kafka import StartCluster, create_topics, unique_name

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.timeout(120)
async def test_a_consumer_that_pauses_after_a_failed_fetch_is_stopped(
    kafka_cluster: StartCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = kafka_cluster()
    topic = unique_name("stopped")
    await create_topics(cluster.bootstrap, {topic: 1})
    tasks_before = asyncio.all_tasks()
    consumer = AIOKafkaConsumer(bootstrap_servers=cluster.bootstrap, group_id=None, retry_backoff_ms=600_000)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    await consumer.getmany(timeout_ms=100)
    with caplog.at_level(logging.ERROR, logger="aiokafka.consumer.fetcher"):
        await asyncio.to_thread(cluster.kill, 1)
        await eventually(lambda: "Failed fetch messages" in caplog.text, "a fetch has failed")
    await stop_client(consumer)
    assert asyncio.all_tasks() == tasks_before
