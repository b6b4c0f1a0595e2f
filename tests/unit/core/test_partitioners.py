import json
import uuid
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.partitioners import PARTITIONERS, align, crc32, fnv1a, home, java_murmur2, kafkajs_legacy

RECORDED = json.loads(Path(__file__).parents[2].joinpath("compat/partitioners.json").read_text("utf-8"))["keys"]
WHOLE_RANGE = 2**31
"""As a partition count, it lets the whole hash through."""
DEFAULT = ("java", "kafkajs-legacy")


def saga_ids(count: int, prefix: str = "") -> Iterator[str]:
    drawn = Random(7)
    return (prefix + str(uuid.UUID(int=drawn.getrandbits(128), version=4)) for _ in range(count))


def test_recorded_keys_have_every_length_modulo_four() -> None:
    assert {len(each["key"].encode()) % 4 for each in RECORDED} == {0, 1, 2, 3}


@pytest.mark.parametrize("partitions", [1, 2, 3, 12, 50, WHOLE_RANGE])
def test_keys_go_where_the_real_clients_sent_them(partitions: int) -> None:
    for each in RECORDED:
        key = each["key"].encode()
        assert java_murmur2(key, partitions) == each["java"] % partitions
        assert kafkajs_legacy(key, partitions) == each["kafkajs"] % partitions


@given(st.binary(max_size=80))
def test_java_partitioner_is_aiokafkas(key: bytes) -> None:
    assert java_murmur2(key, WHOLE_RANGE) == murmur2(key) & 0x7FFFFFFF


def test_home_is_kafkas_default_partitioner() -> None:
    assert home is java_murmur2


@pytest.mark.parametrize(("key", "checksum"), [(b"123456789", 0xCBF43926), (b"a", 0xE8B7BE43), (b"", 0)])
def test_crc32_is_the_usual_one(key: bytes, checksum: int) -> None:
    assert crc32(key, 2**32) == checksum
    assert crc32(key, 7) == checksum % 7


@pytest.mark.parametrize(
    ("key", "signed"), [(b"", -2128831035), (b"a", -468965076), (b"foobar", -1080231576), (b"b", -418632219)]
)
def test_fnv1a_is_signed_and_drops_the_sign_of_the_remainder(key: bytes, signed: int) -> None:
    assert fnv1a(key, 2**33) == -signed
    assert fnv1a(key, 10) == -signed % 10


@given(st.binary(max_size=40), st.integers(0, 10), st.sampled_from(sorted(PARTITIONERS)))
def test_folding_in_two_steps_is_folding_in_one(key: bytes, words: int, name: str) -> None:
    partitioner = PARTITIONERS[name]
    cut = min(4 * words, len(key) & ~3)
    folded = partitioner.fold(partitioner.start(len(key)), key[:cut])
    assert partitioner.partition(folded, key[cut:], 977) == partitioner(key, 977)


@given(st.binary(min_size=1, max_size=60), st.integers(1, 200), st.sampled_from(sorted(PARTITIONERS)))
def test_partition_is_one_of_the_topics(key: bytes, partitions: int, name: str) -> None:
    assert 0 <= PARTITIONERS[name](key, partitions) < partitions


@pytest.mark.parametrize("prefix", ["", "o", "or", "ord", "order-", "bestellung-ü-"])
@pytest.mark.parametrize("partitions", [2, 3, 12, 100])
def test_aligned_ids_go_home_with_either_default_client(partitions: int, prefix: str) -> None:
    missed = 0
    for saga_id in saga_ids(50, prefix):
        key = align(saga_id, partitions=partitions, partitioners=DEFAULT).encode()
        missed += kafkajs_legacy(key, partitions) != home(key, partitions)
    assert missed <= 1  # 3 in 10,000 ids are expected to miss


def test_ids_are_rarely_aligned_by_themselves() -> None:
    """What would make the test before this one say nothing."""
    keys = [saga_id.encode() for saga_id in saga_ids(200)]
    assert sum(kafkajs_legacy(key, 12) == home(key, 12) for key in keys) < 50


@pytest.mark.parametrize("names", [*combinations(sorted(PARTITIONERS), 3), tuple(sorted(PARTITIONERS))])
def test_ids_can_be_aligned_for_several_clients(names: tuple[str, ...]) -> None:
    for saga_id in saga_ids(5):
        key = align(saga_id, partitions=4, partitioners=names).encode()
        assert {PARTITIONERS[name](key, 4) for name in {*names, "java"}} == {home(key, 4)}


@pytest.mark.parametrize("partitions", [2, 12, 64])
def test_only_the_last_four_characters_change_and_an_id_stays_an_id(partitions: int) -> None:
    changed = 0
    for saga_id in saga_ids(30, "order-"):
        aligned = align(saga_id, partitions=partitions, partitioners=DEFAULT)
        assert aligned[:-4] == saga_id[:-4]
        assert str(uuid.UUID(aligned.removeprefix("order-"))) == aligned.removeprefix("order-")
        changed += aligned != saga_id
    assert changed


def test_same_id_is_always_aligned_in_the_same_way() -> None:
    for saga_id in saga_ids(20):
        once = align(saga_id, partitions=12, partitioners=DEFAULT)
        assert align(saga_id, partitions=12, partitioners=DEFAULT) == once
        assert align(once, partitions=12, partitioners=DEFAULT) == once


def test_different_ids_stay_different_often_enough() -> None:
    aligned = {align(saga_id, partitions=12, partitioners=DEFAULT) for saga_id in saga_ids(500)}
    assert len(aligned) == 500


@pytest.mark.parametrize("names", [(), ("java",)])
def test_id_stays_as_it_is_when_nobody_else_has_to_agree(names: tuple[str, ...]) -> None:
    saga_id = next(saga_ids(1))
    assert align(saga_id, partitions=12, partitioners=names) == saga_id


def test_id_stays_as_it_is_with_one_partition() -> None:
    saga_id = next(saga_ids(1))
    assert align(saga_id, partitions=1, partitioners=tuple(PARTITIONERS)) == saga_id


def test_id_stays_as_it_is_when_no_candidate_fits() -> None:
    """Three more clients over 4,096 partitions agree once in 68 billion candidates; 65,536 are tried."""
    saga_id = next(saga_ids(1))
    assert align(saga_id, partitions=4096, partitioners=("kafkajs-legacy", "crc32", "fnv1a")) == saga_id


def test_candidates_begin_again_at_zero_after_the_last() -> None:
    aligned = align("00000000-0000-4000-8000-00000000ffff", partitions=50, partitioners=DEFAULT)
    assert kafkajs_legacy(aligned.encode(), 50) == home(aligned.encode(), 50)
    assert int(aligned[-4:], 16) < 8 * 50
