"""The record of the `sagas` topic: key = saga id, value = the saga as JSON (`docs/saga-record.md`)."""

from collections.abc import Callable
from typing import final

import msgspec

from flowmachine.core.saga import RECORD_VERSION, Saga
from flowmachine.errors import InvariantError

encode_saga: Callable[[Saga], bytes] = msgspec.json.Encoder().encode
"""The record's value."""
encode_saga_into: Callable[[Saga, bytearray], None] = msgspec.json.Encoder().encode_into
"""The same as all that a buffer holds: one that is used again does not grow step by step for every saga."""
decode_known_saga: Callable[[bytes], Saga] = msgspec.json.Decoder(Saga).decode
"""As `decode_saga`, of a record that a restore has looked at, or that we have made. Raises msgspec's errors."""


@final
class Head(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What a restore needs of each record; the rest is skipped, not decoded."""

    v: int
    current_state: str
    updated_at: str
    is_final: bool = False
    held: msgspec.Raw = msgspec.Raw()
    hold: msgspec.Raw = msgspec.Raw()

    @property
    def is_held(self) -> bool:
        """Whether the saga waits for a machine: it has events that could not be applied, or a hook has failed."""
        return bool(self.held or self.hold)


_decode_head = msgspec.json.Decoder(Head).decode


def decode_saga(value: bytes) -> Saga:
    """The saga in a record of ours. Raises InvariantError if it is none, or of a version that we do not know."""
    try:
        saga = decode_known_saga(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvariantError(f"a record of the sagas topic cannot be read: {error}") from error
    if saga.v != RECORD_VERSION:
        raise InvariantError(f"a record of the sagas topic has version {saga.v}, this engine knows {RECORD_VERSION}")
    return saga


def decode_head(value: bytes) -> Head:
    """As `decode_saga`, for the few fields that a restore looks at."""
    try:
        head = _decode_head(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvariantError(f"a record of the sagas topic cannot be read: {error}") from error
    if head.v != RECORD_VERSION:
        raise InvariantError(f"a record of the sagas topic has version {head.v}, this engine knows {RECORD_VERSION}")
    return head


def is_awaited_record(value: bytes) -> bool:
    """Whether there is no saga behind this record yet (`core/adopt.py`)."""
    return decode_head(value).current_state == ""


def may_need_work(value: bytes) -> bool:
    """Whether a stored saga may have an outbox or be held. Never wrong with no; a yes must be looked at."""
    return b'"outbox":[' in value or b'"held":[' in value or b'"hold":{' in value
