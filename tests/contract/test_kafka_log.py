"""The Kafka log keeps the contract, on a real broker."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from aiokafka import AIOKafkaProducer

from flowmachine.adapters.kafka import KafkaConnection, KafkaLog, KafkaLogSettings, TopicNames
from flowmachine.adapters.kafka.source import UNPACKED_RECORDS_MAX
from flowmachine.ports import Log, Transaction
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import InputRecord, OutputRecord
from tests.contract.log_contract import LogContract
from tests.contract.log_harness import (
    HOME_PARTITIONS,
    OUTPUT_PARTITIONS,
    WIDE_PARTITIONS,
    ContractTopics,
    LogHarness,
    soon,
)
from tests.support.kafka import KafkaBroker, create_topics, read_all, unique_name, wait_for_coordinator

pytestmark = pytest.mark.kafka


class KafkaHarness(LogHarness):
    def __init__(self, bootstrap: str, *, is_direct: bool = False) -> None:
        name = unique_name("contract")
        self._bootstrap = bootstrap
        self._logs: list[KafkaLog] = []
        self._topics = ContractTopics(
            **{field: f"{name}.{field}" for field in ("intake", "sagas", "unmatched", "input", "wide_input", "output")}
        )
        self._settings = KafkaLogSettings(
            KafkaConnection((bootstrap,), name),
            TopicNames(
                intake=self._topics.intake,
                sagas=self._topics.sagas,
                unmatched=self._topics.unmatched,
                inputs=(self._topics.input, self._topics.wide_input),
                outputs=(self._topics.output,),
                home_partitions=HOME_PARTITIONS,
            ),
            name,
            is_direct=is_direct,
        )

    @property
    def topics(self) -> ContractTopics:
        return self._topics

    async def create_topics(self) -> None:
        await create_topics(
            self._bootstrap,
            {
                self._topics.input: HOME_PARTITIONS,
                self._topics.wide_input: WIDE_PARTITIONS,
                self._topics.output: OUTPUT_PARTITIONS,
            },
        )

        await wait_for_coordinator(self._bootstrap, self._settings.group)

    async def make_log(self) -> Log:
        log = KafkaLog(self._settings)
        self._logs.append(log)
        await log.start()
        return log

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, acks="all", max_request_size=2_000_000)
        await producer.start()
        try:
            for r in records:
                await producer.send_and_wait(
                    r.topic, r.value, r.key, partition=r.partition, timestamp_ms=r.timestamp, headers=list(r.headers)
                )
        finally:
            await producer.stop()

    async def read_committed(self, topic: str) -> Sequence[InputRecord]:
        found = await read_all(self._bootstrap, topic, is_decided=True)
        return [record for record in found if not is_control(record.key)]

    async def close(self) -> None:
        for log in self._logs:
            await log.stop()


@pytest.fixture
async def harness(kafka_broker: KafkaBroker) -> AsyncGenerator[KafkaHarness]:
    made = KafkaHarness(kafka_broker.bootstrap)
    await made.create_topics()
    yield made
    await made.close()


class TestKafkaLog(LogContract):
    pass


class TestKafkaLogWithoutTransactions(LogContract):
    may_repeat = True

    @pytest.fixture
    async def harness(self, kafka_broker: KafkaBroker) -> AsyncGenerator[KafkaHarness]:
        made = KafkaHarness(kafka_broker.bootstrap, is_direct=True)
        await made.create_topics()
        yield made
        await made.close()


async def test_the_intake_s_end_is_behind_an_open_transaction_too(
    harness: KafkaHarness, kafka_broker: KafkaBroker
) -> None:
    """Another engine forwards into the intake: a creation that is acknowledged behind it must be waited for."""
    log, intake = await harness.make_log(), harness.topics.intake
    forwarding = AIOKafkaProducer(bootstrap_servers=kafka_broker.bootstrap, transactional_id=unique_name("forwarding"))
    await forwarding.start()
    try:
        async with forwarding.transaction():
            await forwarding.send_and_wait(intake, b"forwarded", partition=0)
            await soon(log.append_intake([OutputRecord(intake, b"saga", b"creation", 0)]))
            assert await soon(log.intake_end(0)) == 2
    finally:
        await forwarding.stop()


async def test_a_restore_makes_a_bounded_number_of_records_at_once(harness: KafkaHarness) -> None:
    """One fetch of a compressed changelog holds more of them than memory may have room for."""
    log = await harness.make_log()
    partition_log = await soon(log.open_partition(0))
    total = 2 * UNPACKED_RECORDS_MAX + 1
    for start in range(0, total, 2_000):
        sagas = {b"%d" % n: b"{}" for n in range(start, min(start + 2_000, total))}
        await soon(partition_log.commit(Transaction([], {}, sagas)))
    reopened = await soon(log.open_partition(0))
    counts = [len(records) async for records in reopened.restore(0)]
    assert (sum(counts), max(counts)) == (total, UNPACKED_RECORDS_MAX)
