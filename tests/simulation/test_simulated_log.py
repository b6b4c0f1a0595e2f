"""The simulated log keeps the contract of all logs: what the runtime learns from it, it would learn from a real one."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from flowmachine.ports import Log
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import InputRecord, OutputRecord
from tests.contract.log_contract import LogContract
from tests.contract.log_harness import HOME_PARTITIONS, OUTPUT_PARTITIONS, WIDE_PARTITIONS, ContractTopics
from tests.simulation.broker import Broker
from tests.simulation.direct import DirectPartitionLog, SettlingPartitionLog
from tests.simulation.history import History
from tests.simulation.log import Names, SimulatedLog, SimulatedPartitionLog
from tests.simulation.loop import EPOCH_MS
from tests.simulation.network import Network

MARKER_SECONDS = 0.005


class SimulatedHarness:
    partition_log: type[SimulatedPartitionLog] = SimulatedPartitionLog

    def __init__(self) -> None:
        history = History(lambda: 0.0)
        self.topics = ContractTopics("m.intake", "m.sagas", "m.unmatched", "input", "wide", "output")
        self._random = Random(0)
        self._history = history
        self._broker = Broker(
            wall_ms=lambda: EPOCH_MS,
            draw_delay=lambda: self._random.random() * MARKER_SECONDS,
            history=history,
            home_partitions=HOME_PARTITIONS,
        )
        for topic, width in (("input", HOME_PARTITIONS), ("wide", WIDE_PARTITIONS), ("output", OUTPUT_PARTITIONS)):
            self._broker.create_topic(topic, width)

    async def make_log(self) -> Log:
        names = Names("m.intake", "m.sagas", "m.unmatched", ("input", "wide"), ("output",))
        log = SimulatedLog(self._broker, Network("engine", self._random, self._history), names, self.partition_log)
        await log.start()
        return log

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        self._broker.append(records)

    async def read_committed(self, topic: str) -> Sequence[InputRecord]:
        await asyncio.sleep(MARKER_SECONDS)  # a commit is decided before it shows, on Kafka too
        return [record for record in self._broker.read_all(topic) if not is_control(record.key)]


@pytest.fixture
def harness() -> SimulatedHarness:
    return SimulatedHarness()


class TestSimulatedLog(LogContract):
    pass


class TestSimulatedLogWithoutTransactions(LogContract):
    may_repeat = True

    @pytest.fixture
    def harness(self, harness: SimulatedHarness) -> SimulatedHarness:
        harness.partition_log = DirectPartitionLog
        return harness


class TestSimulatedLogThatSettles(LogContract):
    @pytest.fixture
    def harness(self, harness: SimulatedHarness) -> SimulatedHarness:
        harness.partition_log = SettlingPartitionLog
        return harness
