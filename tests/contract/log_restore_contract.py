"""What every log keeps about restoring sagas from the changelog; part of `log_contract`."""

from flowmachine.ports import Transaction
from tests.contract.log_harness import HOME_PARTITIONS, LogHarness, restore_into, soon


class RestoreContract:
    """An engine that restores knows the latest committed state of its partition."""

    async def test_restore_gives_the_latest_committed_state(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        steps: list[list[tuple[bytes, bytes | None]]] = [
            [(b"a", b"a1"), (b"b", b"b1"), (b"c", b"c1")],
            [(b"a", b"a2"), (b"b", None)],
            [(b"a", b"a3"), (b"a", b"a4"), (b"d", b"d1"), (b"d", None)],
            [(b"b", b"b2"), (b"c", None)],
        ]
        for step in steps:
            await soon(partition_log.commit(Transaction([], {}, dict(step))))
        for reader in (log, await harness.make_log()):
            reopened = await soon(reader.open_partition(0))
            state: dict[bytes, bytes] = {}
            await restore_into(reopened, state, 0)
            assert state == {b"a": b"a4", b"b": b"b2"}

    async def test_restore_reads_its_own_partition_only(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        for home in range(HOME_PARTITIONS):
            partition_log = await soon(log.open_partition(home))
            await soon(partition_log.commit(Transaction([], {}, {b"saga-%d" % home: b"state"})))
        for home in range(HOME_PARTITIONS):
            state: dict[bytes, bytes] = {}
            await restore_into(await soon(log.open_partition(home)), state, 0)
            assert state == {b"saga-%d" % home: b"state"}

    async def test_restore_of_many_sagas_is_complete(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        for start in range(0, 5_000, 1_000):
            sagas = {b"%d" % n: b"state of %d" % n for n in range(start, start + 1_000)}
            await soon(partition_log.commit(Transaction([], {}, sagas)))
        state: dict[bytes, bytes] = {}
        await restore_into(await soon(log.open_partition(0)), state, 0)
        assert state == {b"%d" % n: b"state of %d" % n for n in range(5_000)}

    async def test_restore_goes_on_where_an_earlier_one_ended(self, harness: LogHarness) -> None:
        first = await harness.make_log()
        first_opened = await soon(first.open_partition(0))
        await soon(first_opened.commit(Transaction([], {}, dict.fromkeys((b"a", b"b", b"c"), b"old"))))

        kept: dict[bytes, bytes] = {}
        kept_opened = await soon(first.open_partition(0))
        await restore_into(kept_opened, kept, 0)
        restored_to = kept_opened.restored_to
        assert kept == {b"a": b"old", b"b": b"old", b"c": b"old"}

        other_opened = await soon((await harness.make_log()).open_partition(0))
        await soon(other_opened.commit(Transaction([], {}, {b"a": b"new", b"b": None})))

        again = await soon(first.open_partition(0))
        read = await restore_into(again, kept, restored_to)
        assert kept == {b"a": b"new", b"c": b"old"}
        assert {record.key for record in read} == {b"a", b"b"}
        assert all(record.offset >= restored_to for record in read)
        assert await restore_into(await soon(first.open_partition(0)), kept, again.restored_to) == []

    async def test_kept_state_with_own_commits_is_brought_up_to_date(self, harness: LogHarness) -> None:
        """Whether own commits count as restored is left open; that the state is right afterwards is not."""
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        kept: dict[bytes, bytes] = {}
        await restore_into(partition_log, kept, 0)
        restored_to = partition_log.restored_to
        await soon(partition_log.commit(Transaction([], {}, {b"a": b"1"})))
        await soon(partition_log.commit(Transaction([], {}, {b"b": b"1"})))
        kept |= {b"a": b"1", b"b": b"1"}
        assert partition_log.restored_to >= restored_to
        restored_to = partition_log.restored_to

        other = await soon((await harness.make_log()).open_partition(0))
        await soon(other.commit(Transaction([], {}, {b"a": None, b"c": b"1"})))
        await restore_into(await soon(log.open_partition(0)), kept, restored_to)
        assert kept == {b"b": b"1", b"c": b"1"}

    async def test_restore_of_nothing_is_nothing(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        assert await restore_into(partition_log, {}, 0) == []
        assert partition_log.restored_to >= 0
