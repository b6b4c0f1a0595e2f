"""A broker: what it keeps, and what it answers to each request; nothing here waits.

As Kafka does it: records of an open transaction stand in their partitions, invisible to read_committed readers, and
so does all behind them; a commit is decided at once and shows in each partition when its marker has been written, a
little later; markers take an offset. An epoch per transactional id (here: per home partition) keeps former owners out;
a transaction that stays open too long is given up, which ends its producer's epoch, too.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flowmachine.errors import FencedError, TransientError
from flowmachine.wire.log import OutputRecord, StoredRecord
from tests.simulation.group import Group
from tests.simulation.history import History

TRANSACTION_TIMEOUT_SECONDS = 15.0

Place = tuple[str, int]


@dataclass(eq=False)
class BrokerTransaction:
    """A transaction of one producer."""

    home: int
    epoch: int
    state: str = "open"
    """open, committed (its markers are being written), done, aborted."""
    places: dict[Place, None] = field(default_factory=dict)
    offsets: dict[Place, int] = field(default_factory=dict)


@dataclass(eq=False)
class PartitionData:
    """One partition: entries by offset; an entry without a record is a marker."""

    entries: list[tuple[StoredRecord | None, BrokerTransaction | None]] = field(default_factory=list)
    first_open: dict[BrokerTransaction, int] = field(default_factory=dict)
    """Transactions whose markers are not written yet, and where they begin here."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """Behind the last entry."""
        return len(self.entries)

    @property
    def stable_end(self) -> int:
        """Behind the last entry that a read_committed reader may see."""
        return min(self.first_open.values(), default=self.end)


class Broker:
    """One broker; `draw_delay` says how long the marker of a transaction takes, partition by partition."""

    def __init__(
        self, *, wall_ms: Callable[[], int], draw_delay: Callable[[], float], history: History, home_partitions: int
    ) -> None:
        self.home_partitions = home_partitions
        self.partitions: dict[str, list[PartitionData]] = {}
        self.committed: dict[Place, int] = {}
        self.epochs = [0] * home_partitions
        self.direct_epochs = [0] * home_partitions
        self._epochs_known: dict[tuple[Place, int], int] = {}
        """(partition, home) -> the highest epoch of the home's direct producers that has written there."""
        self.transactions: dict[int, BrokerTransaction] = {}
        """The latest of each home partition."""
        self.group = Group(home_partitions, history)
        self._wall_ms = wall_ms
        self._draw_delay = draw_delay
        self._history = history

    # --- topics -------------------------------------------------------------------------------------------------------

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic, or add partitions to one; nothing if it has them."""
        data = self.partitions.setdefault(topic, [])
        data += [PartitionData() for _ in range(partitions - len(data))]

    def append(self, records: Iterable[OutputRecord], transaction: BrokerTransaction | None = None) -> list[int]:
        """Append records that name their partition; the offsets."""
        offsets = []
        touched = {}
        for record in records:
            assert record.partition is not None
            data = self.partitions[record.topic][record.partition]
            offset = data.end
            timestamp = self._wall_ms() if record.timestamp is None else record.timestamp
            headers = tuple(record.headers)
            stored = StoredRecord(record.topic, record.partition, offset, timestamp, record.key, record.value, headers)
            data.entries.append((stored, transaction))
            if transaction is not None:
                transaction.places[record.topic, record.partition] = None
                data.first_open.setdefault(transaction, offset)
            touched[record.topic, record.partition] = data
            offsets.append(offset)
        for data in touched.values():
            _wake(data)
        return offsets

    def read(self, place: Place, position: int, records_max: int) -> tuple[list[StoredRecord], int]:
        """Committed records from `position` on, and where to go on; both may be less than there is."""
        data = self.partitions[place[0]][place[1]]
        records: list[StoredRecord] = []
        end = data.stable_end
        while position < end and len(records) < records_max:
            record, transaction = data.entries[position]
            position += 1
            if record is not None and (transaction is None or transaction.state != "aborted"):
                records.append(record)
        return records, position

    def read_all(self, topic: str) -> list[StoredRecord]:
        """Every committed record of a topic."""
        count = len(self.partitions[topic])
        return [record for number in range(count) for record in self.read((topic, number), 0, 1_000_000)[0]]

    def wait(self, place: Place) -> asyncio.Future[None]:
        """Done once the partition may have something new to see."""
        future = asyncio.get_running_loop().create_future()
        self.partitions[place[0]][place[1]].waiting.append(future)
        return future

    # --- transactions -------------------------------------------------------------------------------------------------

    def init_producer(self, home: int) -> int:
        """Fence whoever had the home partition; the new epoch. TransientError while a commit is being written."""
        latest = self.transactions.get(home)
        if latest is not None and latest.state == "open":
            self._abort(latest)
        if latest is not None and latest.state == "committed":
            raise TransientError("concurrent transactions")
        self.epochs[home] += 1
        return self.epochs[home]

    def begin(self, home: int, epoch: int) -> BrokerTransaction:
        """A new transaction; in Kafka it begins with its first request. TransientError as for `init_producer`."""
        self._check_epoch(home, epoch)
        latest = self.transactions.get(home)
        if latest is not None and latest.state == "committed":
            raise TransientError("concurrent transactions")
        transaction = self.transactions[home] = BrokerTransaction(home, epoch)
        asyncio.get_running_loop().call_later(TRANSACTION_TIMEOUT_SECONDS, self._give_up, transaction)
        return transaction

    def produce(self, transaction: BrokerTransaction, records: Sequence[OutputRecord]) -> list[int]:
        """Append records to a transaction."""
        self._check_open(transaction)
        return self.append(records, transaction)

    def add_offsets(self, transaction: BrokerTransaction, offsets: dict[Place, int]) -> None:
        """Add the group's offsets to a transaction."""
        self._check_open(transaction)
        transaction.offsets.update(offsets)

    def commit(self, transaction: BrokerTransaction) -> None:
        """Decide that a transaction is committed; it shows once its markers are written."""
        self._check_open(transaction)
        transaction.state = "committed"
        self._history.note("broker", f"home {transaction.home} epoch {transaction.epoch} commits {transaction.offsets}")
        loop = asyncio.get_running_loop()
        left = [*transaction.places, None]

        def mark(place: Place | None) -> None:
            if place is None:
                self.committed.update(transaction.offsets)
            else:
                self._write_marker(place, transaction)
            left.remove(place)
            if not left:
                transaction.state = "done"

        for place in tuple(left):
            loop.call_later(self._draw_delay(), mark, place)

    # --- without transactions -----------------------------------------------------------------------------------------

    def init_direct(self, home: int) -> int:
        """The epoch of a new direct producer; a partition refuses the former ones once this one has written there."""
        self.direct_epochs[home] += 1
        return self.direct_epochs[home]

    def produce_direct(self, home: int, epoch: int, place: Place, records: Sequence[OutputRecord]) -> list[int]:
        """Append one record batch, whole."""
        known = self._epochs_known.get((place, home), 0)
        if epoch < known:
            raise FencedError(f"home {home}: direct epoch {epoch} is over in {place[0]}/{place[1]}, this is {known}")
        self._epochs_known[place, home] = epoch
        return self.append(records)

    # --- ends of transactions -----------------------------------------------------------------------------------------

    def _give_up(self, transaction: BrokerTransaction) -> None:
        if transaction.state == "open":
            self._history.note("broker", f"home {transaction.home}: transaction given up after its timeout")
            if self.epochs[transaction.home] == transaction.epoch:
                self.epochs[transaction.home] += 1
            self._abort(transaction)

    def _abort(self, transaction: BrokerTransaction) -> None:
        transaction.state = "aborted"
        for place in transaction.places:
            self._write_marker(place, transaction)

    def _write_marker(self, place: Place, transaction: BrokerTransaction) -> None:
        data = self.partitions[place[0]][place[1]]
        data.entries.append((None, transaction))
        del data.first_open[transaction]
        _wake(data)

    def _check_epoch(self, home: int, epoch: int) -> None:
        if epoch != self.epochs[home]:
            raise FencedError(f"home {home}: epoch {epoch} is over, this is {self.epochs[home]}")

    def _check_open(self, transaction: BrokerTransaction) -> None:
        self._check_epoch(transaction.home, transaction.epoch)
        if transaction.state != "open":
            raise TransientError(f"the transaction is {transaction.state}")


def _wake(data: PartitionData) -> None:
    waiting, data.waiting = data.waiting, []
    for future in waiting:
        if not future.done():
            future.set_result(None)
