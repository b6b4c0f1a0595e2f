"""aiokafka's clients that stop: those of a Kafka that is away are closed, and none stops reading unnoticed."""

import asyncio
import logging

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from flowmachine.adapters.kafka.connection import stop_client
from flowmachine.adapters.kafka.source import KafkaSource
from flowmachine.errors import TransientError
from tests.support.eventually import eventually
from tests.support.kafka import KafkaBroker, StartCluster, create_topics, unique_name

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


@pytest.mark.timeout(60)
async def test_a_source_whose_client_has_stopped_reading_says_so(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowmachine.adapters.kafka.source.LOOK_MS", 200)
    topic = unique_name("silent")
    await create_topics(kafka_broker.bootstrap, {topic: 1})
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_broker.bootstrap, group_id=None)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        reading = asyncio.create_task(KafkaSource(consumer, place).fetch())
        done, _ = await asyncio.wait({reading}, timeout=1)
        assert not done, "it waits for records, and looks meanwhile"
        (fetching,) = (task for task in asyncio.all_tasks() if "_fetch_requests_routine" in repr(task.get_coro()))
        fetching.cancel()
        with pytest.raises(TransientError, match=f"reading {topic}/0: the Kafka client has stopped reading"):
            await asyncio.wait_for(reading, 10)
    finally:
        await stop_client(consumer)
