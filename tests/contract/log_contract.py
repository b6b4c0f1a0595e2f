"""What every `flowmachine.ports.Log` keeps, as one suite; each implementation subclasses it and gives it a harness.

    tests/contract/test_embedded_log.py     class TestEmbeddedLog(LogContract)   + a fixture `harness`
    tests/contract/test_kafka_log.py        class TestKafkaLog(LogContract)      + a fixture `harness`

Only the port and the harness are used. Offsets may have gaps (Kafka's transaction markers), compaction may come late,
and several handles on one log may be open at once: that is how two engines are played.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import pytest

from flowmachine.core.partitioners import java_murmur2
from flowmachine.errors import FencedError, TransientError
from flowmachine.ports import Log, PartitionLog, Source, Transaction
from flowmachine.wire.log import InputRecord, OutputRecord

HOME_PARTITIONS = 2
WIDE_PARTITIONS = 5
OUTPUT_PARTITIONS = 3

WAIT_SECONDS = 30.0
"""For what must happen: long, because a young broker is slow."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ContractTopics:
    """Topic names of one test; the harness makes the inputs and the output, `Log.start` the machine's own."""

    intake: str
    """`HOME_PARTITIONS` partitions, as `sagas` and `unmatched`."""
    sagas: str
    unmatched: str
    input: str
    """`HOME_PARTITIONS` partitions."""
    wide_input: str
    """`WIDE_PARTITIONS` partitions."""
    output: str
    """`OUTPUT_PARTITIONS` partitions."""


class LogHarness(Protocol):
    """One log, empty at the start of a test, and ways around the port to look at it."""

    @property
    def topics(self) -> ContractTopics: ...

    async def make_log(self) -> Log:
        """A new handle, started; two handles are two engines. The harness stops it after the test if it still runs."""
        ...

    async def produce(self, records: Sequence[OutputRecord]) -> None:
        """Append records as any client would; all of them name their partition."""
        ...

    async def read_committed(self, topic: str) -> Sequence[InputRecord]:
        """All records that a read_committed reader sees now, each partition in the order of its offsets."""
        ...


async def soon(awaitable: Awaitable[_T]) -> _T:
    """The result of what must come."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await awaitable


def source_of(log: PartitionLog, topic: str) -> Source:
    """The source of a topic that has one partition for this home partition."""
    (source,) = [source for source in log.sources if source.topic == topic]
    return source


async def fetch_count(source: Source, count: int, *, records_max: int = 100) -> list[InputRecord]:
    """The next `count` records."""
    records: list[InputRecord] = []
    while len(records) < count:
        records += await soon(source.fetch(min(records_max, count - len(records))))
    return records


async def restore_into(log: PartitionLog, state: dict[bytes, bytes], from_offset: int) -> list[InputRecord]:
    """Bring `state` up to date as an engine does, and return what was read."""
    records: list[InputRecord] = []
    async with aclosing(log.restore(from_offset)) as batches:
        async for batch in batches:
            records += batch
    for record in records:
        assert record.key is not None
        if record.value is None:
            state.pop(record.key, None)
        else:
            state[record.key] = record.value
    return records


def values(records: Sequence[InputRecord]) -> list[bytes | None]:
    return [record.value for record in records]


class LogContract:
    """The suite."""

    may_repeat = False
    """Whether a commit that was interrupted may write to an output topic again; it does in order, and nowhere else."""

    # --- what there is ---

    async def test_start_says_which_topics_there_are(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        names = harness.topics
        topics = await soon(log.start())
        assert (topics.intake, topics.sagas, topics.unmatched) == (names.intake, names.sagas, names.unmatched)
        assert topics.home_partitions == HOME_PARTITIONS
        assert dict(topics.input_partitions) == {names.input: HOME_PARTITIONS, names.wide_input: WIDE_PARTITIONS}

    async def test_check_answers_until_the_log_is_stopped(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        await soon(log.check())
        await soon(log.stop())
        with pytest.raises(TransientError):
            await soon(log.check())

    async def test_single_member_owns_every_partition_and_leaves_at_once(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        async with aclosing(log.run_membership("engine-1:8080")) as assignments:
            assignment = await soon(anext(assignments))
            assert assignment.owned == frozenset(range(HOME_PARTITIONS))
            assert dict(assignment.owners) == dict.fromkeys(range(HOME_PARTITIONS), "engine-1:8080")
            assert dict(assignment.input_partitions) == {
                harness.topics.input: HOME_PARTITIONS,
                harness.topics.wide_input: WIDE_PARTITIONS,
            }
            waiting = asyncio.ensure_future(anext(assignments))
            done, _ = await asyncio.wait({waiting}, timeout=0.05)
            assert not done, "nothing has changed, so there is no second assignment"
            waiting.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait({waiting})

    # --- sources ---

    async def test_sources_are_the_intake_and_the_inputs_with_the_partition_s_number(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        widths = {names.intake: HOME_PARTITIONS, names.input: HOME_PARTITIONS, names.wide_input: WIDE_PARTITIONS}
        everything = [(topic, partition) for topic, width in widths.items() for partition in range(width)]
        await harness.produce([OutputRecord(topic, b"k", b"v", partition) for topic, partition in everything])
        for home in range(HOME_PARTITIONS):
            partition_log = await soon(log.open_partition(home))
            found = [(await fetch_count(source, 1))[0] for source in partition_log.sources]
            assert sorted((record.topic, record.partition) for record in found) == sorted(
                (topic, partition) for topic, partition in everything if partition % HOME_PARTITIONS == home
            )
            await soon(partition_log.close())

    async def test_records_come_in_order_and_at_most_as_many_as_asked_for(self, harness: LogHarness) -> None:
        log, topic = await harness.make_log(), harness.topics.input
        sent = [b"%d" % number for number in range(25)]
        await harness.produce([OutputRecord(topic, b"key-%d" % (n % 3), value, 1) for n, value in enumerate(sent)])
        source = source_of(await soon(log.open_partition(1)), topic)
        received: list[InputRecord] = []
        while len(received) < len(sent):
            batch = await soon(source.fetch(7))
            assert 1 <= len(batch) <= 7
            received += batch
        assert values(received) == sent
        offsets = [record.offset for record in received]
        assert offsets == sorted(set(offsets))
        assert await soon(source.position()) > offsets[-1]

    async def test_waiting_source_does_not_hold_back_another(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        waiting = asyncio.ensure_future(source_of(partition_log, names.intake).fetch(10))
        await harness.produce([OutputRecord(names.input, b"k", b"for the input", 0)])
        assert values(await soon(source_of(partition_log, names.input).fetch(10))) == [b"for the input"]
        assert not waiting.done()
        await harness.produce([OutputRecord(names.intake, b"k", b"for the intake", 0)])
        assert values(await soon(waiting)) == [b"for the intake"]

    async def test_cancelled_fetch_loses_nothing(self, harness: LogHarness) -> None:
        log, topic = await harness.make_log(), harness.topics.input
        source = source_of(await soon(log.open_partition(0)), topic)
        for round_number in range(3):
            waiting = asyncio.ensure_future(source.fetch(10))
            await asyncio.wait({waiting}, timeout=0.02)
            waiting.cancel()
            await asyncio.wait({waiting})
            await harness.produce([OutputRecord(topic, b"k", b"%d" % round_number, 0)])
            assert values(await fetch_count(source, 1)) == [b"%d" % round_number]

    async def test_source_goes_on_at_the_committed_offset(self, harness: LogHarness) -> None:
        names = harness.topics
        first = await harness.make_log()
        await harness.produce([OutputRecord(names.input, b"k", b"%d" % n, 0) for n in range(5)])
        partition_log = await soon(first.open_partition(0))
        records = await fetch_count(source_of(partition_log, names.input), 5)
        await soon(partition_log.commit(Transaction([], {(names.input, 0): records[2].offset + 1})))
        for log in (first, await harness.make_log()):
            reopened = await soon(log.open_partition(0))
            assert values(await fetch_count(source_of(reopened, names.input), 2)) == [b"3", b"4"]

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
                    [
                        OutputRecord(names.output, b"order", b"command", 2),
                        OutputRecord(names.sagas, b"order", b"saga", 0),
                        OutputRecord(names.intake, b"other", b"forwarded", 1),
                    ],
                    {(names.input, 0): event.offset + 1},
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
                partition_log.commit(Transaction(answers, {(names.input, 0): records[-1].offset + 1})),
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
            [OutputRecord(names.output, b"k", b"lost", 0), OutputRecord(names.sagas, b"k", b"lost", 0)],
            {(names.input, 0): event.offset + 1},
        )
        with pytest.raises(FencedError):
            await soon(former.commit(lost))
        assert list(await harness.read_committed(names.output)) == []
        assert await restore_into(owner, {}, 0) == []
        assert values(await fetch_count(source_of(owner, names.input), 1)) == [b"event"]
        await soon(owner.commit(Transaction([OutputRecord(names.output, b"k", b"kept", 0)], {})))
        assert values(await harness.read_committed(names.output)) == [b"kept"]

    async def test_opening_fences_that_partition_only(self, harness: LogHarness) -> None:
        names = harness.topics
        log = await harness.make_log()
        zero, one = await soon(log.open_partition(0)), await soon(log.open_partition(1))
        await soon((await harness.make_log()).open_partition(0))
        await soon(one.commit(Transaction([OutputRecord(names.output, b"k", b"one", 0)], {})))
        with pytest.raises(FencedError):
            await soon(zero.commit(Transaction([OutputRecord(names.output, b"k", b"zero", 0)], {})))
        assert values(await harness.read_committed(names.output)) == [b"one"]

    async def test_partitions_commit_at_the_same_time(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        opened = [await soon(log.open_partition(home)) for home in range(HOME_PARTITIONS)]

        async def commit_some(home: int) -> None:
            for number in range(10):
                record = OutputRecord(names.output, b"k", b"%d-%d" % (home, number), home)
                await opened[home].commit(Transaction([record], {}))

        await soon(asyncio.gather(*(commit_some(home) for home in range(HOME_PARTITIONS))))
        received = await harness.read_committed(names.output)
        for home in range(HOME_PARTITIONS):
            expected = [b"%d-%d" % (home, number) for number in range(10)]
            assert values([record for record in received if record.partition == home]) == expected

    async def test_large_transaction_keeps_the_order_of_each_partition(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        sent = [OutputRecord(names.output, b"k", b"%d" % number, number % 3) for number in range(2_000)]
        await soon(partition_log.commit(Transaction(sent, {})))
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
            await soon(partition_log.commit(Transaction([OutputRecord(topic, key, b"v") for key in keys], {})))
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
        received = await harness.read_committed(names.output)
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
        await soon(partition_log.commit(Transaction([OutputRecord(names.output, b"k", b"v", 0)], {})))
        (record,) = await harness.read_committed(names.output)
        assert record.timestamp > 1_700_000_000_000

    async def test_large_records_pass(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        large = bytes(range(256)) * 3_600
        assert len(large) > 900_000
        partition_log = await soon(log.open_partition(0))
        records = [OutputRecord(names.output, b"k", large, 0), OutputRecord(names.output, b"k", large[::-1], 0)]
        await soon(partition_log.commit(Transaction([*records, OutputRecord(names.sagas, b"k", large, 0)], {})))
        assert values(await harness.read_committed(names.output)) == [large, large[::-1]]
        state: dict[bytes, bytes] = {}
        await restore_into(await soon(log.open_partition(0)), state, 0)
        assert state == {b"k": large}

    # --- intake ---

    async def test_appended_intake_reaches_the_source_and_moves_the_end(self, harness: LogHarness) -> None:
        log, intake = await harness.make_log(), harness.topics.intake
        source = source_of(await soon(log.open_partition(1)), intake)
        before = await soon(log.intake_end(1))
        waiting = asyncio.ensure_future(source.fetch(10))
        offsets = await soon(
            log.append_intake([OutputRecord(intake, b"a", b"1", 1), OutputRecord(intake, b"a", b"2", 1)])
        )
        end = await soon(log.intake_end(1))
        assert end >= before + 2
        assert await soon(log.intake_end(0)) == 0
        records = list(await soon(waiting))
        records += await fetch_count(source, 2 - len(records))
        assert values(records) == [b"1", b"2"]
        assert [record.offset for record in records] == list(offsets)
        assert await soon(source.position()) == end

    async def test_lag_is_what_has_not_been_fetched(self, harness: LogHarness) -> None:
        log, intake = await harness.make_log(), harness.topics.intake
        source = source_of(await soon(log.open_partition(1)), intake)
        await soon(log.append_intake([OutputRecord(intake, b"a", b"%d" % number, 1) for number in range(5)]))
        assert len(await fetch_count(source, 2, records_max=2)) == 2
        assert await soon(source.lag()) == 3
        await fetch_count(source, 3)
        assert await soon(source.lag()) == 0

    async def test_intake_of_one_engine_reaches_another(self, harness: LogHarness) -> None:
        intake = harness.topics.intake
        owner, other = await harness.make_log(), await harness.make_log()
        source = source_of(await soon(owner.open_partition(0)), intake)
        await soon(other.append_intake([OutputRecord(intake, b"a", b"v", 0)]))
        assert values(await fetch_count(source, 1)) == [b"v"]

    # --- restore ---

    async def test_restore_gives_the_latest_committed_state(self, harness: LogHarness) -> None:
        log, sagas = await harness.make_log(), harness.topics.sagas
        partition_log = await soon(log.open_partition(0))
        steps: list[list[tuple[bytes, bytes | None]]] = [
            [(b"a", b"a1"), (b"b", b"b1"), (b"c", b"c1")],
            [(b"a", b"a2"), (b"b", None)],
            [(b"a", b"a3"), (b"a", b"a4"), (b"d", b"d1"), (b"d", None)],
            [(b"b", b"b2"), (b"c", None)],
        ]
        for step in steps:
            await soon(
                partition_log.commit(Transaction([OutputRecord(sagas, key, value, 0) for key, value in step], {}))
            )
        for reader in (log, await harness.make_log()):
            reopened = await soon(reader.open_partition(0))
            state: dict[bytes, bytes] = {}
            await restore_into(reopened, state, 0)
            assert state == {b"a": b"a4", b"b": b"b2"}

    async def test_restore_reads_its_own_partition_only(self, harness: LogHarness) -> None:
        log, sagas = await harness.make_log(), harness.topics.sagas
        for home in range(HOME_PARTITIONS):
            partition_log = await soon(log.open_partition(home))
            record = OutputRecord(sagas, b"saga-%d" % home, b"state", home)
            await soon(partition_log.commit(Transaction([record], {})))
        for home in range(HOME_PARTITIONS):
            state: dict[bytes, bytes] = {}
            await restore_into(await soon(log.open_partition(home)), state, 0)
            assert state == {b"saga-%d" % home: b"state"}

    async def test_restore_of_many_sagas_is_complete(self, harness: LogHarness) -> None:
        log, sagas = await harness.make_log(), harness.topics.sagas
        partition_log = await soon(log.open_partition(0))
        for start in range(0, 5_000, 1_000):
            batch = [OutputRecord(sagas, b"%d" % n, b"state of %d" % n, 0) for n in range(start, start + 1_000)]
            await soon(partition_log.commit(Transaction(batch, {})))
        state: dict[bytes, bytes] = {}
        await restore_into(await soon(log.open_partition(0)), state, 0)
        assert state == {b"%d" % n: b"state of %d" % n for n in range(5_000)}

    async def test_restore_goes_on_where_an_earlier_one_ended(self, harness: LogHarness) -> None:
        sagas = harness.topics.sagas
        first = await harness.make_log()
        first_opened = await soon(first.open_partition(0))
        old = [OutputRecord(sagas, key, b"old", 0) for key in (b"a", b"b", b"c")]
        await soon(first_opened.commit(Transaction(old, {})))

        kept: dict[bytes, bytes] = {}
        kept_opened = await soon(first.open_partition(0))
        await restore_into(kept_opened, kept, 0)
        restored_to = kept_opened.restored_to
        assert kept == {b"a": b"old", b"b": b"old", b"c": b"old"}

        other_opened = await soon((await harness.make_log()).open_partition(0))
        news = [OutputRecord(sagas, b"a", b"new", 0), OutputRecord(sagas, b"b", None, 0)]
        await soon(other_opened.commit(Transaction(news, {})))

        again = await soon(first.open_partition(0))
        read = await restore_into(again, kept, restored_to)
        assert kept == {b"a": b"new", b"c": b"old"}
        assert {record.key for record in read} == {b"a", b"b"}
        assert all(record.offset >= restored_to for record in read)
        assert await restore_into(await soon(first.open_partition(0)), kept, again.restored_to) == []

    async def test_kept_state_with_own_commits_is_brought_up_to_date(self, harness: LogHarness) -> None:
        """Whether own commits count as restored is left open; that the state is right afterwards is not."""
        log, sagas = await harness.make_log(), harness.topics.sagas
        partition_log = await soon(log.open_partition(0))
        kept: dict[bytes, bytes] = {}
        await restore_into(partition_log, kept, 0)
        restored_to = partition_log.restored_to
        await soon(partition_log.commit(Transaction([OutputRecord(sagas, b"a", b"1", 0)], {})))
        await soon(partition_log.commit(Transaction([OutputRecord(sagas, b"b", b"1", 0)], {})))
        kept |= {b"a": b"1", b"b": b"1"}
        assert partition_log.restored_to >= restored_to
        restored_to = partition_log.restored_to

        other = await soon((await harness.make_log()).open_partition(0))
        changes = [OutputRecord(sagas, b"a", None, 0), OutputRecord(sagas, b"c", b"1", 0)]
        await soon(other.commit(Transaction(changes, {})))
        await restore_into(await soon(log.open_partition(0)), kept, restored_to)
        assert kept == {b"b": b"1", b"c": b"1"}

    async def test_restore_of_nothing_is_nothing(self, harness: LogHarness) -> None:
        log = await harness.make_log()
        partition_log = await soon(log.open_partition(0))
        assert await restore_into(partition_log, {}, 0) == []
        assert partition_log.restored_to >= 0
