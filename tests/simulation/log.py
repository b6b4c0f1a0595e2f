"""The port `Log` over the simulated broker, in the steps of the Kafka adapter: what the runtime sees is what it does.

Its honesty is shown by `test_simulated_log.py`: it passes the contract of all logs.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import TransientError
from flowmachine.ports import Assignment, Source, Topics, Transaction
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import Fetch, InputRecord, OutputRecord, as_output, commands_as_output
from tests.simulation.broker import Broker, BrokerTransaction, Place
from tests.simulation.network import Network

HEARTBEAT_SECONDS = 2.0
_BUSY_SECONDS = 0.02
"""aiokafka's pause while the markers of the transaction before are being written."""
_COMMIT_SECONDS = 30.0
_RESTORE_RECORDS = 50

_T = TypeVar("_T")


@dataclass(frozen=True)
class Names:
    """The topics of the machine."""

    intake: str
    sagas: str
    unmatched: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


async def _until_free(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Try until no commit of the same producer is being written."""
    while True:
        try:
            return await attempt()
        except TransientError as error:
            if "concurrent" not in str(error):
                raise
        await asyncio.sleep(_BUSY_SECONDS)


_FETCH_RECORDS_MAX = 10


class SimulatedSource:
    """One input partition, from its committed offset on."""

    def __init__(self, broker: Broker, network: Network, place: Place, position: int) -> None:
        self._broker = broker
        self._network = network
        self._place = place
        self._position = position

    @property
    def topic(self) -> str:
        return self._place[0]

    async def position(self) -> int:
        return self._position

    async def lag(self) -> int:
        topic, partition = self._place
        return max(0, self._broker.partitions[topic][partition].stable_end - self._position)

    async def fetch(self) -> Fetch:
        broker, place = self._broker, self._place
        while True:
            position = self._position
            records, following = await self._network.request(
                f"fetch {place[0]}/{place[1]} from {position}",
                lambda position=position: broker.read(place, position, _FETCH_RECORDS_MAX),
            )
            self._position = following
            if records:
                gaps = position % 2  # a fetch may promise more than compaction has left of it
                return Fetch(records, len(records) + gaps, sum(len(record.value or b"") for record in records))
            data = broker.partitions[place[0]][place[1]]
            if following >= data.stable_end:  # a long poll: nothing is asked while nothing is there
                await broker.wait(place)


class SimulatedPartitionLog:
    """A home partition, opened."""

    def __init__(self, broker: Broker, network: Network, names: Names, group_topics: Topics, home: int) -> None:
        self._broker = broker
        self._network = network
        self._names = names
        self._topics = group_topics
        self._home = home
        self._epoch = 0
        self._sources: list[SimulatedSource] = []
        self.restored_to = 0
        self.is_closed = False

    @property
    def sources(self) -> Sequence[Source]:
        return self._sources

    async def open(self) -> None:
        """1. fence; 2. read the offsets; 3. make the sources: the order of the Kafka adapter."""
        self._epoch = await self.fence()
        committed = await self.committed_offsets()
        self._sources = [SimulatedSource(self._broker, self._network, *each) for each in committed.items()]

    async def fence(self) -> int:
        """End the former owner's epoch; the new one."""
        broker, home = self._broker, self._home
        return await _until_free(
            lambda: self._network.request(f"init producer {home}", lambda: broker.init_producer(home))
        )

    async def committed_offsets(self) -> dict[Place, int]:
        """Where to go on, for every input partition of this home partition."""
        topics = self._topics
        places: list[Place] = [(topics.intake, self._home)]
        for topic, count in topics.input_partitions.items():
            places += [(topic, number) for number in range(self._home, count, topics.home_partitions)]
        return await self._network.request(
            f"offsets of home {self._home}", lambda: {place: self._broker.committed.get(place, 0) for place in places}
        )

    async def restore(self, from_offset: int) -> AsyncGenerator[Sequence[InputRecord]]:
        broker, place = self._broker, (self._names.sagas, self._home)
        position = from_offset
        end = await self.changelog_end()
        while position < end:
            records, position = await self._network.request(
                f"restore home {self._home} from {position}",
                lambda position=position: broker.read(place, position, _RESTORE_RECORDS),
            )
            sagas = [record for record in records if not is_control(record.key)]
            if sagas:
                yield sagas
        self.restored_to = max(position, self.restored_to)

    async def changelog_end(self) -> int:
        """The end of the sagas partition for a read_committed reader."""
        data = self._broker.partitions[self._names.sagas][self._home]
        return await self._network.request(f"end of the changelog {self._home}", lambda: data.stable_end)

    async def commit(self, transaction: Transaction) -> None:
        if self.is_closed:
            raise TransientError("this home partition has been closed")
        if transaction.is_empty:
            return
        try:
            async with asyncio.timeout(_COMMIT_SECONDS):
                await self._commit(transaction)
        except TimeoutError:
            raise TransientError("no answer to a commit") from None

    async def _commit(self, transaction: Transaction) -> None:
        broker, home = self._broker, self._home
        begun = await _until_free(
            lambda: self._network.request(f"begin {home}", lambda: broker.begin(home, self._epoch))
        )
        batches: dict[Place, list[OutputRecord]] = {}
        sagas = as_output(transaction.sagas, self._names.sagas, home)
        for record in (*transaction.records, *commands_as_output(transaction.commands), *sagas):
            partition = record.partition
            if partition is None:
                partition = java_murmur2(record.key or b"", len(broker.partitions[record.topic]))
            placed = OutputRecord(record.topic, record.key, record.value, partition, record.headers, record.timestamp)
            batches.setdefault((record.topic, partition), []).append(placed)
        sent = [asyncio.ensure_future(self.send(begun, place, batch)) for place, batch in batches.items()]
        try:
            if transaction.next_offsets:
                await self.send_offsets(begun, dict(transaction.next_offsets))
            await self.flush(sent)
            await self._network.request(f"commit {home}", lambda: broker.commit(begun))
        finally:
            for future in sent:
                future.cancel()
            await asyncio.gather(*sent, return_exceptions=True)
        changelog = batches.get((self._names.sagas, home))
        if changelog:
            self.restored_to = max(self.restored_to, sent[list(batches).index((self._names.sagas, home))].result() + 1)

    async def send(self, begun: BrokerTransaction, place: Place, batch: list[OutputRecord]) -> int:
        """Produce a batch; the offset of its last record."""
        what = f"produce {len(batch)} to {place[0]}/{place[1]}"
        offsets = await self._network.request(what, lambda: self._broker.produce(begun, batch))
        return offsets[-1]

    async def send_offsets(self, begun: BrokerTransaction, offsets: dict[Place, int]) -> None:
        """Add offsets to a transaction."""
        await self._network.request(f"offsets {self._home}", lambda: self._broker.add_offsets(begun, offsets))

    async def flush(self, sent: list[asyncio.Future[int]]) -> None:
        """Wait for every produce."""
        await asyncio.gather(*sent)

    async def close(self) -> None:
        self.is_closed = True


class SimulatedLog:
    """A machine's log, as one engine sees it."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        names: Names,
        partition_log: type[SimulatedPartitionLog] = SimulatedPartitionLog,
    ) -> None:
        self._broker = broker
        self._network = network
        self._names = names
        self._partition_log = partition_log
        self._topics: Topics | None = None

    def _counts(self, topics: Sequence[str]) -> dict[str, int]:
        return {topic: len(self._broker.partitions[topic]) for topic in topics}

    async def start(self) -> Topics:
        names, homes = self._names, self._broker.home_partitions

        def prepare() -> Topics:
            for topic in (names.intake, names.sagas, names.unmatched):
                self._broker.create_topic(topic, homes)
            inputs, outputs = self._counts(names.inputs), self._counts(names.outputs)
            return Topics(
                names.intake, names.sagas, names.unmatched, names.inputs, names.outputs, homes, inputs, outputs
            )

        self._topics = await self._network.request("start", prepare)
        return self._topics

    async def run_membership(self, address: str) -> AsyncGenerator[Assignment]:
        broker, network, names = self._broker, self._network, self._names
        topics = self._started()
        now = asyncio.get_running_loop().time
        known: Assignment | None = None
        try:
            while True:
                assignment = await network.request(
                    f"heartbeat of {address}",
                    lambda: broker.group.heartbeat(address, self._counts(names.inputs), now()),
                )
                if assignment is None:
                    await network.request(
                        f"join of {address}", lambda: broker.group.join(address, self._counts(names.inputs), now())
                    )
                    known = None
                elif known is None or known.generation != assignment.generation:
                    known = assignment
                    self._topics = _with_inputs(topics, assignment.input_partitions)
                    yield assignment
                else:
                    await asyncio.sleep(HEARTBEAT_SECONDS)
        finally:
            with suppress(TransientError):  # the session then times out
                await network.request(f"leave of {address}", lambda: broker.group.leave(address))

    async def open_partition(self, partition: int) -> SimulatedPartitionLog:
        log = self._partition_log(self._broker, self._network, self._names, self._started(), partition)
        try:
            await log.open()
        except BaseException:
            await log.close()
            raise
        return log

    async def append_intake(self, records: Sequence[OutputRecord]) -> Sequence[int]:
        return await self._network.request("append to the intake", lambda: self._broker.append(records))

    async def intake_end(self, partition: int) -> int:
        data = self._broker.partitions[self._started().intake][partition]
        return await self._network.request(f"end of the intake {partition}", lambda: data.end)

    async def check(self) -> None:
        self._started()
        await self._network.request("check", lambda: None)

    async def stop(self) -> None:
        self._topics = None

    def _started(self) -> Topics:
        if self._topics is None:
            raise TransientError("the log has not started")
        return self._topics


def _with_inputs(topics: Topics, counts: Mapping[str, int]) -> Topics:
    return Topics(
        topics.intake,
        topics.sagas,
        topics.unmatched,
        topics.inputs,
        topics.outputs,
        topics.home_partitions,
        counts,
        topics.output_partitions,
    )
