"""What every log keeps about transactions and about the records in them; part of `log_contract`."""

import asyncio

import pytest

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import FencedError
from flowmachine.ports import Transaction
from flowmachine.wire.log import OutputRecord
from tests.contract.log_harness import (
    HOME_PARTITIONS,
    OUTPUT_PARTITIONS,
    LogHarness,
    as_commands,
    fetch_count,
    restore_into,
    soon,
    source_of,
    values,
)


class TransactionContract:
    """Records and offsets become visible together, in order, from one owner."""

    may_repeat = False
    """Whether a commit that was interrupted may write to an output topic again; it does in order, and nowhere else."""

    # --- commit ---

    async def test_records_and_offsets_become_visible_together(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        await harness.produce([OutputRecord(names.input, b"order", b"event", 0)])
        partition_log = await soon(log.open_partition(0))
        (event,) = await fetch_count(source_of(partition_log, names.input), 1)
        assert list(await harness.read_committed(names.output)) == []
        await soon(
            partition_log.commit(
                Transaction(
                    [OutputRecord(names.intake, b"other", b"forwarded", 1)],
                    {(names.input, 0): event.offset + 1},
                    {b"order": b"saga"},
                    {(names.output, 2): [(b"order", b"command", ())]},
                ),
            ),
        )
        for topic, value, partition in [
            (names.output, b"command", 2),
            (names.sagas, b"saga", 0),
            (names.intake, b"forwarded", 1),
        ]:
            (record,) = await harness.read_committed(topic)
            assert (record.value, record.partition) == (value, partition)
        reopened = await soon((await harness.make_log()).open_partition(0))
        assert await soon(source_of(reopened, names.input).position()) == event.offset + 1

    async def test_cancelled_commit_is_whole_or_absent(self, harness: LogHarness) -> None:
        names = harness.topics
        await harness.produce([OutputRecord(names.input, b"k", b"%d" % n, 0) for n in range(25)])
        handled = 0
        for attempt in range(4):
            log = await harness.make_log()
            partition_log = await soon(log.open_partition(0))
            records = await fetch_count(source_of(partition_log, names.input), 5)
            answers = [OutputRecord(names.output, b"k", record.value, n % 3) for n, record in enumerate(records)]
            commit = asyncio.ensure_future(
                partition_log.commit(
                    Transaction((), {(names.input, 0): records[-1].offset + 1}, commands=as_commands(answers))
                ),
            )
            await asyncio.wait({commit}, timeout=0.001 * attempt)
            commit.cancel()
            await asyncio.wait({commit})
            reopened = await soon((await harness.make_log()).open_partition(0))
            (following,) = await fetch_count(source_of(reopened, names.input), 1)
            assert following.value is not None
            handled = int(following.value)
            visible = values(await harness.read_committed(names.output))
            if self.may_repeat:
                visible = list(dict.fromkeys(visible))
            assert sorted(visible, key=lambda value: int(value or b"")) == [b"%d" % n for n in range(handled)]
            await soon(log.stop())
        assert handled % 5 == 0

    async def test_opening_again_fences_the_former_owner(self, harness: LogHarness) -> None:
        names = harness.topics
        await harness.produce([OutputRecord(names.input, b"k", b"event", 0)])
        former = await soon((await harness.make_log()).open_partition(0))
        (event,) = await fetch_count(source_of(former, names.input), 1)
        owner = await soon((await harness.make_log()).open_partition(0))
        lost = Transaction(
            (), {(names.input, 0): event.offset + 1}, {b"k": b"lost"}, {(names.output, 0): [(b"k", b"lost", ())]}
        )
        with pytest.raises(FencedError):
            await soon(former.commit(lost))
        assert list(await harness.read_committed(names.output)) == []
        assert await restore_into(owner, {}, 0) == []
        assert values(await fetch_count(source_of(owner, names.input), 1)) == [b"event"]
        await soon(owner.commit(Transaction((), {}, commands={(names.output, 0): [(b"k", b"kept", ())]})))
        assert values(await harness.read_committed(names.output)) == [b"kept"]

    async def test_opening_fences_that_partition_only(self, harness: LogHarness) -> None:
        names = harness.topics
        log = await harness.make_log()
        zero, one = await soon(log.open_partition(0)), await soon(log.open_partition(1))
        await soon((await harness.make_log()).open_partition(0))
        await soon(one.commit(Transaction((), {}, commands={(names.output, 0): [(b"k", b"one", ())]})))
        with pytest.raises(FencedError):
            await soon(zero.commit(Transaction((), {}, commands={(names.output, 0): [(b"k", b"zero", ())]})))
        assert values(await harness.read_committed(names.output)) == [b"one"]

    async def test_partitions_commit_at_the_same_time(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        opened = [await soon(log.open_partition(home)) for home in range(HOME_PARTITIONS)]

        async def commit_some(home: int) -> None:
            for number in range(10):
                commands = {(names.output, home): [(b"k", b"%d-%d" % (home, number), ())]}
                await opened[home].commit(Transaction((), {}, commands=commands))

        await soon(asyncio.gather(*(commit_some(home) for home in range(HOME_PARTITIONS))))
        received = await harness.read_committed(names.output)
        for home in range(HOME_PARTITIONS):
            expected = [b"%d-%d" % (home, number) for number in range(10)]
            assert values([record for record in received if record.partition == home]) == expected

    async def test_large_transaction_keeps_the_order_of_each_partition(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        sent = [OutputRecord(names.output, b"k", b"%d" % number, number % 3) for number in range(2_000)]
        await soon(partition_log.commit(Transaction((), {}, commands=as_commands(sent))))
        received = await harness.read_committed(names.output)
        for partition in range(OUTPUT_PARTITIONS):
            assert [record.value for record in received if record.partition == partition] == [
                record.value for record in sent if record.partition == partition
            ]

    async def test_empty_transaction_is_allowed(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        await soon(partition_log.commit(Transaction([], {})))

    # --- records ---

    async def test_record_without_partition_goes_where_kafka_s_default_partitioner_puts_it(
        self,
        harness: LogHarness,
    ) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        keys = [b"order-%d" % number for number in range(20)] + ["Bestellung-ä-订单".encode(), b"\x00\xff\x80", b""]
        for topic in (names.output, names.unmatched):  # another partition count than the home partitions', and the same
            await soon(partition_log.commit(Transaction([OutputRecord(topic, key, b"v") for key in keys[::2]], {})))
            commands = {(topic, None): [(key, b"v", ()) for key in keys[1::2]]}
            await soon(partition_log.commit(Transaction((), {}, commands=commands)))
        for topic, width in ((names.output, OUTPUT_PARTITIONS), (names.unmatched, HOME_PARTITIONS)):
            found = {record.key: record.partition for record in await harness.read_committed(topic)}
            assert found == {key: java_murmur2(key, width) for key in keys}

    async def test_everything_in_a_record_survives(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        headers = [("trace", b"\x00\xff"), ("trace", b"again"), ("größe", "ä".encode()), ("empty", b"")]
        sent = [
            OutputRecord(names.output, "Schlüssel-订单".encode(), b'{"a":1}', 0, headers, 1_700_000_000_123),
            OutputRecord(names.output, b"\x00\x01\xfe\xff", bytes(range(256)), 0, (), 1_700_000_000_124),
            OutputRecord(names.output, b"tombstone", None, 0, [("h", b"1")], 1_700_000_000_125),
            OutputRecord(names.output, b"empty", b"", 0, (), 1_700_000_000_126),
            OutputRecord(names.output, None, b"no key", 0, (), 1_700_000_000_127),
        ]
        await soon(partition_log.commit(Transaction(sent, {})))
        command = "Befehl-命令".encode(), b'{"b":2}', headers
        await soon(partition_log.commit(Transaction((), {}, commands={(names.output, 0): [command]})))
        *received, last = await harness.read_committed(names.output)
        assert (last.key, last.value, [tuple(header) for header in last.headers]) == command
        assert [
            (record.key, record.value, [tuple(header) for header in record.headers], record.timestamp)
            for record in received
        ] == [(record.key, record.value, list(record.headers), record.timestamp) for record in sent]

    async def test_everything_in_a_record_reaches_the_source(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        sent = OutputRecord(names.input, b"\xff\x00", b"value", 0, [("h", b"\x00")], 1_700_000_000_123)
        await harness.produce([sent])
        (record,) = await fetch_count(source_of(await soon(log.open_partition(0)), names.input), 1)
        assert (record.topic, record.partition, record.key, record.value) == (names.input, 0, sent.key, sent.value)
        assert [tuple(header) for header in record.headers] == [("h", b"\x00")]
        assert record.timestamp == 1_700_000_000_123

    async def test_record_without_timestamp_gets_the_present(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        sent = Transaction(
            [OutputRecord(names.output, b"k", b"v", 0)], {}, commands={(names.output, 0): [(b"k", b"w", ())]}
        )
        await soon(partition_log.commit(sent))
        records = await harness.read_committed(names.output)
        assert values(records) == [b"v", b"w"]
        assert all(record.timestamp > 1_700_000_000_000 for record in records)

    async def test_large_records_pass(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        large = bytes(range(256)) * 3_600
        assert len(large) > 900_000
        partition_log = await soon(log.open_partition(0))
        commands = {(names.output, 0): [(b"k", large, ()), (b"k", large[::-1], ())]}
        await soon(partition_log.commit(Transaction((), {}, {b"k": large}, commands)))
        assert values(await harness.read_committed(names.output)) == [large, large[::-1]]
        state: dict[bytes, bytes] = {}
        await restore_into(await soon(log.open_partition(0)), state, 0)
        assert state == {b"k": large}
