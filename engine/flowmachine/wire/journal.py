"""The journal of a home partition: how a batch is committed without a transaction (`settings.delivery: atLeastOnce`).

A batch's saga records and its *journal* - the offsets that it moves, and the commands that it sends - are one Kafka
record batch in the partition's changelog, which a broker takes whole or not at all. Only then are the commands sent.
Whoever opens the partition next sends what the last journal holds once more, unless it is known to have arrived.

These records stand among those of the sagas, under keys that cannot be a saga's id: they are not UTF-8.
"""

from collections.abc import Sequence
from typing import Final, final

import msgspec

from flowmachine.errors import InvariantError
from flowmachine.wire.log import OutputRecord

_CONTROL: Final = b"\xff"
JOURNAL_KEY: Final = _CONTROL + b"journal"
"""Of the latest batch; compaction removes those of earlier ones, which nobody needs."""
FENCE_KEY: Final = _CONTROL + b"fence"
"""Of a record without value: with it a new owner's epoch begins in the partition, and its predecessor's ends."""


@final
class Journal(msgspec.Struct, frozen=True, array_like=True):
    """What a batch does besides changing sagas."""

    next_offsets: Sequence[tuple[str, int, int]]
    """(topic, partition, first offset not yet processed), of this batch and of others that the group does not know."""
    commands: Sequence[OutputRecord]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Journal).decode


def is_control(key: bytes | None) -> bool:
    """Whether a record of the changelog is of the log's own, not of a saga."""
    return key is not None and key.startswith(_CONTROL)


def encode_journal(journal: Journal) -> bytes:
    """The value of its record, as MessagePack."""
    return _encode(journal)


def decode_journal(value: bytes | None) -> Journal:
    """The journal in a record of ours. Raises InvariantError."""
    try:
        return _decode(value or b"")
    except msgspec.MsgspecError as error:
        raise InvariantError(f"a journal in the sagas topic cannot be read: {error}") from error
