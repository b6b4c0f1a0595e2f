"""Committing without transactions (`settings.delivery: atLeastOnce`), in the steps of the Kafka adapter."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import FlowMachineError, TransientError
from flowmachine.ports import Transaction
from flowmachine.wire.journal import FENCE_KEY, JOURNAL_KEY, Journal, decode_journal, encode_journal
from flowmachine.wire.log import OutputRecord, as_output, commands_as_output
from tests.simulation.broker import Place
from tests.simulation.log import SimulatedPartitionLog, SimulatedSource

LATE_OFFSETS_SECONDS = 1.0
BATCH_RECORDS_MAX = 6
"""A batch with more goes in a transaction: a real one may be too large for one record batch."""


class SettlingPartitionLog(SimulatedPartitionLog):
    """A home partition of a machine that may have committed without transactions before; here all goes in them."""

    is_direct = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._direct_epoch = 0
        self._late: dict[Place, int] = {}
        self._transaction = asyncio.Lock()
        self._failure: FlowMachineError | None = None
        self._offsets_task: asyncio.Task[None] | None = None

    @property
    def _changelog(self) -> Place:
        return self._names.sagas, self._home

    async def open(self) -> None:
        """1. fence; 2. read the offsets; 3. settle the journal; 4. make the sources."""
        self._epoch = await self.fence()
        offsets = await self.committed_offsets()
        mark = await self._network.request(
            f"mark of home {self._home}", lambda: self._broker.committed.get(self._changelog)
        )
        if self.is_direct or mark is not None:
            offsets |= await self._settle(mark or 0)
        self._sources = [SimulatedSource(self._broker, self._network, *each) for each in offsets.items()]

    async def _settle(self, position: int) -> dict[Place, int]:
        await self.fence_direct()
        journal, end = Journal((), ()), await self.changelog_end()
        while position < end:
            records, position = await self._network.request(
                f"journal of home {self._home} from {position}",
                lambda position=position: self._broker.read(self._changelog, position, 50),
            )
            for record in records:
                if record.key == JOURNAL_KEY:
                    journal = decode_journal(record.value)
        moved = {(topic, partition): offset for topic, partition, offset in journal.next_offsets}
        self._late = moved | {self._changelog: end}
        await self.commit_transaction(Transaction(self.unsent(journal), {}))
        if self.is_direct:
            self._offsets_task = asyncio.create_task(self._commit_late_offsets())
        return moved

    def unsent(self, journal: Journal) -> list[OutputRecord]:
        """What is to be sent of the last journal."""
        return list(journal.commands)

    async def fence_direct(self) -> None:
        """End the former owner's epoch in the changelog."""
        broker, home = self._broker, self._home
        self._direct_epoch = await self._network.request(
            f"init direct producer {home}", lambda: broker.init_direct(home)
        )
        await self.append(self._changelog, [OutputRecord(self._names.sagas, FENCE_KEY, None, home)])

    async def append(self, place: Place, records: list[OutputRecord]) -> int:
        """Append one record batch without a transaction; the offset behind it."""
        what = f"append {len(records)} to {place[0]}/{place[1]}"
        offsets = await self._network.request(
            what, lambda: self._broker.produce_direct(self._home, self._direct_epoch, place, records)
        )
        return offsets[-1] + 1

    async def commit(self, transaction: Transaction) -> None:
        self._raise_failure()
        if transaction.is_empty:
            return
        if not self.is_direct or not await self._commit_directly(transaction):
            await self.commit_transaction(transaction)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def commit_transaction(self, transaction: Transaction) -> None:
        """As the log with transactions does, with the offsets that the group does not know yet."""
        try:
            async with self._transaction:
                self._raise_failure()
                late = self._late | dict(transaction.next_offsets)
                await super().commit(Transaction(transaction.records, late, transaction.sagas, transaction.commands))
        except BaseException:  # it may have happened or not: no offset of before may be committed behind it
            self._failure = self._failure or TransientError("the transaction before has not ended")
            raise
        self._late = {place: offset for place, offset in self._late.items() if offset > late.get(place, -1)}

    async def _commit_directly(self, transaction: Transaction) -> bool:
        commands = commands_as_output(transaction.commands)
        if transaction.records or len(commands) + len(transaction.sagas) > BATCH_RECORDS_MAX:
            return False
        offsets = self._late | dict(transaction.next_offsets)
        positions = [(*place, offset) for place, offset in offsets.items() if place != self._changelog]
        batch = {**transaction.sagas, JOURNAL_KEY: encode_journal(Journal(positions, commands))}
        try:
            end = await self.write_direct(as_output(batch, self._names.sagas, self._home), commands)
        except BaseException:  # the journal must not be overwritten before its commands have been sent
            self._failure = self._failure or TransientError("the batch before has not ended")
            raise
        self._late |= offsets | {self._changelog: end}
        self.restored_to = max(self.restored_to, end)
        return True

    async def write_direct(self, batch: list[OutputRecord], commands: list[OutputRecord]) -> int:
        """1. the batch of the changelog; 2. the commands. The offset behind the batch."""
        end = await self.append(self._changelog, batch)
        await self.send_commands(commands)
        return end

    async def send_commands(self, commands: list[OutputRecord]) -> None:
        """Wait until all of them are safe."""
        places: dict[Place, list[OutputRecord]] = {}
        for record in commands:
            partition = record.partition
            if partition is None:
                partition = java_murmur2(record.key or b"", len(self._broker.partitions[record.topic]))
            placed = msgspec.structs.replace(record, partition=partition)
            places.setdefault((record.topic, partition), []).append(placed)
        await asyncio.gather(*(self.append(place, records) for place, records in places.items()))

    async def _commit_late_offsets(self) -> None:
        try:
            while True:
                await asyncio.sleep(LATE_OFFSETS_SECONDS)
                if self._late:
                    await self.commit_transaction(Transaction((), {}))
        except FlowMachineError as error:
            self._failure = error

    async def close(self) -> None:
        if self._offsets_task is not None:
            async with self._transaction:  # not in the middle of one
                self._offsets_task.cancel()
            await asyncio.gather(self._offsets_task, return_exceptions=True)
        if self._late and self._failure is None and not self.is_closed:
            with suppress(FlowMachineError):
                await self.commit_transaction(Transaction((), {}))
        await super().close()


class DirectPartitionLog(SettlingPartitionLog):
    """A home partition, opened to commit without transactions where that can be."""

    is_direct = True
