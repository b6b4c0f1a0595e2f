"""Record batches: everything is in them, in order, and as many are made as are needed."""

import random
from collections.abc import Sequence

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from flowmachine.adapters.kafka.record_batches import BATCH_BYTES, UNPACKED_BYTES, build_batches, build_changelog
from flowmachine.core.partitioners import java_murmur2
from flowmachine.wire.log import CommandRecords, OutputRecord

# pyright: reportPrivateUsage=false
# What a producer sends of a batch has no public name in aiokafka.


async def count_three(topic: str) -> int:
    return 3


def unpack(batches: Sequence[BatchBuilder]) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    unpacked = []
    for batch in batches:
        records = MemoryRecords(bytes(batch._build()))
        while (fetched := records.next_batch()) is not None:
            assert fetched.validate_crc()
            unpacked += [(record.key, record.value, list(record.headers)) for record in fetched]
    return unpacked


async def test_records_stand_in_the_batches_of_their_places() -> None:
    records = [
        OutputRecord("commands", b"a", b"1", 0),
        OutputRecord("unmatched", b"a", b"2", 0, (("h", b"v"),)),
        OutputRecord("commands", b"b", b"3", 0),
        OutputRecord("unmatched", b"b", None, 0),
        OutputRecord("elsewhere", b"c", b"4"),
    ]
    more: CommandRecords = {
        ("commands", 0): [(b"d", b"5", (("h", b"w"),)), (b"e", b"6", ())],
        ("commands", 1): [],
        ("elsewhere", None): [(b"c", b"7", ())],
    }
    batches = await build_batches(records, more, count_three, is_transactional=True)
    assert {place: unpack(of) for place, of in batches.items()} == {
        ("commands", 0): [(b"a", b"1", []), (b"b", b"3", []), (b"d", b"5", [("h", b"w")]), (b"e", b"6", [])],
        ("unmatched", 0): [(b"a", b"2", [("h", b"v")]), (b"b", None, [])],
        ("elsewhere", java_murmur2(b"c", 3)): [(b"c", b"4", []), (b"c", b"7", [])],
    }


async def test_what_does_not_fit_goes_into_more_batches() -> None:
    sent = {("commands", 0): [(b"%d" % number, b"x" * 300_000, ()) for number in range(8)]}
    (batches,) = (await build_batches((), sent, count_three, is_transactional=True)).values()
    assert [batch.record_count() for batch in batches] == [3, 3, 2]
    assert all(batch.closed() for batch in batches), "one that stays open waits for more"
    assert [key for key, _, _ in unpack(batches)] == [b"%d" % number for number in range(8)]


def test_a_compressed_batch_holds_what_fits_once_it_is_compressed() -> None:
    alike = {b"%d" % number: b"x" * 300_000 for number in range(60)}
    noise = {b"%d" % number: random.Random(number).randbytes(30_000) for number in range(60)}
    for sagas in (alike, noise):
        batches = build_changelog(sagas, is_transactional=True)
        assert all(len(bytes(batch._build())) <= BATCH_BYTES for batch in batches)
        assert {key: value for key, value, _ in unpack(batches)} == sagas
    assert 27 * 300_000 <= UNPACKED_BYTES < 28 * 300_000
    assert [batch.record_count() for batch in build_changelog(alike, is_transactional=True)] == [27, 27, 6]
    full, _ = build_changelog(noise, is_transactional=True)
    assert full.size() > 0.7 * BATCH_BYTES


async def test_a_record_larger_than_a_batch_stands_alone() -> None:
    values = [b"1", b"x" * (BATCH_BYTES + 1), b"2"]
    records = [OutputRecord("commands", b"key", value, 0) for value in values]
    (batches,) = (await build_batches(records, {}, count_three, is_transactional=True)).values()
    assert [[value for _, value, _ in unpack([batch])] for batch in batches] == [[value] for value in values]


async def test_the_changelog_is_compressed_and_nothing_else_is() -> None:
    values = [
        b'{"state":"paid","number":%d,"text":"%b"}' % (number * 7919, b"z" * (number % 50)) for number in range(2000)
    ]
    plain = [(b"key%d" % number, value, ()) for number, value in enumerate(values)]
    ((commands,),) = (await build_batches((), {("commands", 0): plain}, count_three, is_transactional=True)).values()
    (changelog,) = build_changelog({key: value for key, value, _ in plain}, is_transactional=True)
    assert unpack([changelog]) == unpack([commands])
    assert changelog.size() == len(bytes(changelog._build()))
    assert 6 * changelog.size() < commands.size() == len(bytes(commands._build()))
