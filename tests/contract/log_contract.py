"""What every `flowmachine.ports.Log` keeps, as one suite; each implementation subclasses it and gives it a harness.

    tests/contract/test_embedded_log.py     class TestEmbeddedLog(LogContract)   + a fixture `harness`
    tests/contract/test_kafka_log.py        class TestKafkaLog(LogContract)      + a fixture `harness`

Only the port and the harness are used. Offsets may have gaps (Kafka's transaction markers), compaction may come late,
and several handles on one log may be open at once: that is how two engines are played.
"""

import asyncio
from contextlib import aclosing

import pytest

from flowmachine.errors import TransientError
from flowmachine.ports import Transaction
from flowmachine.wire.log import InputRecord, OutputRecord
from tests.contract.log_harness import (
    HOME_PARTITIONS,
    WIDE_PARTITIONS,
    LogHarness,
    fetch_count,
    soon,
    source_of,
    values,
)
from tests.contract.log_restore_contract import RestoreContract
from tests.contract.log_transaction_contract import TransactionContract


class LogContract(TransactionContract, RestoreContract):
    """The suite."""

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

    async def test_records_come_in_order_and_at_most_as_many_as_were_said(self, harness: LogHarness) -> None:
        log, topic = await harness.make_log(), harness.topics.input
        sent = [b"%d" % number for number in range(25)]
        await harness.produce([OutputRecord(topic, b"key-%d" % (n % 3), value, 1) for n, value in enumerate(sent)])
        source = source_of(await soon(log.open_partition(1)), topic)
        received: list[InputRecord] = []
        while len(received) < len(sent):
            fetch = await soon(source.fetch())
            expected, size = fetch.count, fetch.size
            assert size > 0
            batch = fetch.take(7)
            while fetch.count:
                batch += fetch.take(7)
            assert 1 <= len(batch) <= expected
            assert fetch.size == 0
            received += batch
        assert values(received) == sent
        offsets = [record.offset for record in received]
        assert offsets == sorted(set(offsets))
        assert await soon(source.position()) > offsets[-1]

    async def test_waiting_source_does_not_hold_back_another(self, harness: LogHarness) -> None:
        log, names = await harness.make_log(), harness.topics
        partition_log = await soon(log.open_partition(0))
        waiting = asyncio.ensure_future(source_of(partition_log, names.intake).fetch())
        await harness.produce([OutputRecord(names.input, b"k", b"for the input", 0)])
        assert values(await fetch_count(source_of(partition_log, names.input), 1)) == [b"for the input"]
        assert not waiting.done()
        await harness.produce([OutputRecord(names.intake, b"k", b"for the intake", 0)])
        assert values((await soon(waiting)).take(10)) == [b"for the intake"]

    async def test_cancelled_fetch_loses_nothing(self, harness: LogHarness) -> None:
        log, topic = await harness.make_log(), harness.topics.input
        source = source_of(await soon(log.open_partition(0)), topic)
        for round_number in range(3):
            waiting = asyncio.ensure_future(source.fetch())
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

    # --- intake ---

    async def test_appended_intake_reaches_the_source_and_moves_the_end(self, harness: LogHarness) -> None:
        log, intake = await harness.make_log(), harness.topics.intake
        source = source_of(await soon(log.open_partition(1)), intake)
        before = await soon(log.intake_end(1))
        waiting = asyncio.ensure_future(source.fetch())
        offsets = await soon(
            log.append_intake([OutputRecord(intake, b"a", b"1", 1), OutputRecord(intake, b"a", b"2", 1)])
        )
        end = await soon(log.intake_end(1))
        assert end >= before + 2
        assert await soon(log.intake_end(0)) == 0
        records = (await soon(waiting)).take(10)
        records += await fetch_count(source, 2 - len(records))
        assert values(records) == [b"1", b"2"]
        assert [record.offset for record in records] == list(offsets)
        assert await soon(source.position()) == end

    async def test_lag_is_what_has_not_been_fetched(self, harness: LogHarness) -> None:
        log, intake = await harness.make_log(), harness.topics.intake
        large = b"v" * 900_000  # so that one fetch does not bring them all
        for _ in range(5):
            await soon(log.append_intake([OutputRecord(intake, b"a", large, 1)]))
        source = source_of(await soon(log.open_partition(1)), intake)
        fetched = 0
        lags: list[int] = []
        while fetched < 5:
            fetched += (await soon(source.fetch())).count
            lags.append(await soon(source.lag()))
            assert fetched + lags[-1] == 5
        assert lags[-1] == 0

    async def test_intake_of_one_engine_reaches_another(self, harness: LogHarness) -> None:
        intake = harness.topics.intake
        owner, other = await harness.make_log(), await harness.make_log()
        source = source_of(await soon(owner.open_partition(0)), intake)
        await soon(other.append_intake([OutputRecord(intake, b"a", b"v", 0)]))
        assert values(await fetch_count(source, 1)) == [b"v"]
