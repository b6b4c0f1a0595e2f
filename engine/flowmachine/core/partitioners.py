"""Where a key's records go: Kafka's default partitioner, and those of other clients.

home(saga id) = Java's murmur2 mod N. Ids that we mint are *aligned*: candidates are tried until every partitioner of
`settings.alignPartitioners` sends the id to its home, so that events need no forwarding whichever client sent them.

Sources: Apache Kafka `Utils.murmur2` (Java, aiokafka); KafkaJS before 2.0 (`default/murmur2.js`, whose products are
rounded as JavaScript doubles); librdkafka `consistent` (CRC-32); sarama's hash partitioner (FNV-1a, 32 bits).
`tests/compat/partitioners.json` holds what the real clients answered.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Partitioner:
    """A hash in three steps, so that candidates which share their beginning share its cost.

    `start(key length)`, then `fold(hash, bytes)` over any multiple of four bytes, then `partition(hash, rest, count)`.
    """

    start: Callable[[int], int]
    fold: Callable[[int, bytes], int]
    partition: Callable[[int, bytes, int], int]

    def __call__(self, key: bytes, partitions: int) -> int:
        """The partition of a key."""
        return self.partition(self.start(len(key)), key, partitions)


def _fold_java(h: int, data: bytes) -> int:
    for k in struct.unpack(f"<{len(data) >> 2}I", data):
        k = k * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    return h


def _partition_java(h: int, rest: bytes, partitions: int) -> int:
    whole = len(rest) & ~3
    h = _fold_java(h, rest[:whole])
    tail = rest[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def _signed(value: int) -> int:
    """The low 32 bits as a signed number (JavaScript's ToInt32 of a whole number)."""
    return ((value & _MASK) ^ 0x80000000) - 0x80000000


def _fold_kafkajs(h: int, data: bytes) -> int:
    """JavaScript multiplies as doubles (53 bits kept) and cuts to 32 bits only at the next bit operation."""
    for k in struct.unpack(f"<{len(data) >> 2}i", data):
        product = int(float(k) * _M)
        mixed = int(float(_signed(product ^ (product & _MASK) >> 24)) * _M)
        h = _signed(int(float(h) * _M) ^ mixed)
    return h


def _partition_kafkajs(h: int, rest: bytes, partitions: int) -> int:
    # Its loop runs once more over missing bytes when the length is no multiple of four; the tail then counts as well.
    h = _fold_kafkajs(h, rest + b"\0" * (-len(rest) % 4))
    tail = rest[len(rest) & ~3 :]
    if tail:
        h = int(float(_signed(h ^ int.from_bytes(tail, "little"))) * _M)
    h = int(float(_signed(h ^ (h & _MASK) >> 13)) * _M)
    return ((h ^ (h & _MASK) >> 15) & 0x7FFFFFFF) % partitions


def _fold_fnv1a(h: int, data: bytes) -> int:
    for byte in data:
        h = (h ^ byte) * 0x01000193 & _MASK
    return h


java_murmur2 = Partitioner(lambda length: (_SEED ^ length) & _MASK, _fold_java, _partition_java)
"""Kafka's default: murmur2, sign bit cleared, modulo."""

kafkajs_legacy = Partitioner(lambda length: _signed(_SEED ^ length), _fold_kafkajs, _partition_kafkajs)
"""KafkaJS 1.x: murmur2 in double precision, so that most keys land elsewhere than in Java."""

crc32 = Partitioner(
    lambda _: 0, lambda h, data: zlib.crc32(data, h), lambda h, rest, partitions: zlib.crc32(rest, h) % partitions
)
"""librdkafka's `consistent` and `consistent_random`, for keys that are not empty."""

fnv1a = Partitioner(
    lambda _: 0x811C9DC5,
    _fold_fnv1a,
    lambda h, rest, partitions: abs(_signed(_fold_fnv1a(h, rest))) % partitions,
)
"""sarama's default: FNV-1a as a signed 32-bit number, remainder as in Go, sign dropped."""

PARTITIONERS = {"java": java_murmur2, "kafkajs-legacy": kafkajs_legacy, "crc32": crc32, "fnv1a": fnv1a}

home = java_murmur2
"""The partition whose task owns a saga."""

_CHANGED = 4
"""Characters at the end of an id that alignment may change: 65,536 candidates."""
_TRIES_PER_PARTITION = 8
"""A candidate fits with probability 1/N for each further partitioner; with one, 8 N tries miss 3 times in 10,000."""


def align(saga_id: str, *, partitions: int, partitioners: Sequence[str]) -> str:
    """The id with its last characters changed until all `partitioners` send it to its home; unchanged if none is found.

    `saga_id` ends in a UUID. Deterministic: the same id and arguments give the same result. An id that could not be
    aligned still works; its events are forwarded.
    """
    others = [PARTITIONERS[name] for name in partitioners if name != "java"]
    if partitions == 1 or not others:
        return saga_id
    key = saga_id.encode()
    stem_length = (len(key) - _CHANGED) & ~3
    stem, middle = key[:stem_length], key[stem_length:-_CHANGED]
    home_hash = home.fold(home.start(len(key)), stem)
    other_hashes = [(other.partition, other.fold(other.start(len(key)), stem)) for other in others]
    first = int(key[-_CHANGED:], 16)
    for attempt in range(min(_TRIES_PER_PARTITION * partitions ** len(others), 16**_CHANGED)):
        ending = b"%04x" % ((first + attempt) % 16**_CHANGED)
        rest = middle + ending
        partition = home.partition(home_hash, rest, partitions)
        if all(of(folded, rest, partitions) == partition for of, folded in other_hashes):
            return saga_id[:-_CHANGED] + ending.decode()
    return saga_id
