"""Lists of sagas: what can be asked for, what stands in a list, and how it goes on.

A list comes in pages. A cursor says where the next page begins; it is text that only whoever made it can read, and
stays good while sagas move, come and go.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar, final

import msgspec

from flowmachine.core.definition import BusinessId
from flowmachine.core.saga import Saga
from flowmachine.errors import InvariantError

T = TypeVar("T")


@final
class SagaFilter(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which sagas are wanted; None: whatever it is."""

    state: str | None = None
    business_state: str | None = None
    """As text: `"1"` is the number 1 as well as the text."""
    entity: str | None = None
    is_final: bool | None = None
    updated_before: str | None = None
    """A time as sagas have them (`core/timestamps.py`)."""


@final
class SagaSummary(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A saga without its metadata and history."""

    saga_id: str
    associated_entity_id: str
    current_state: str
    business_state_id: BusinessId
    business_state_description: str
    is_final: bool
    latest_event: str
    seq: int
    created_at: str
    updated_at: str


@final
class SagaPage(msgspec.Struct, frozen=True, rename="camel"):
    """Part of a list. It may be empty and still have a `next_cursor`: the end is where there is none."""

    sagas: Sequence[SagaSummary]
    next_cursor: str | None


@final
class ScanRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks the owner of a home partition for its sagas behind `after`, in the order of their ids.

    It looks at `scanned_max` sagas at most, and returns `limit` at most.
    """

    partition: int
    wanted: SagaFilter
    after: str
    limit: int
    scanned_max: int


@final
class Scan(msgspec.Struct, frozen=True):
    """The sagas that were found among `scanned`. `after` is where to go on; None: the partition ends here."""

    sagas: Sequence[SagaSummary]
    after: str | None
    scanned: int


@final
class _Stored(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The fields of a record that lists need; the rest is skipped, not decoded."""

    seq: int
    current_state: str
    latest_event: str
    business_state_id: BusinessId
    business_state_description: str
    associated_entity_id: str
    created_at: str
    updated_at: str
    is_final: bool = False


_decode_stored = msgspec.json.Decoder(_Stored).decode
_encode_cursor = msgspec.json.Encoder().encode


def decode_summary(key: bytes, record: bytes, wanted: SagaFilter) -> SagaSummary | None:
    """The summary of a saga from its record; None if it is not `wanted`."""
    try:
        stored = _decode_stored(record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvariantError(f"a record of the sagas topic cannot be read: {error}") from error
    if not stored.current_state or not _is_wanted(stored, wanted):  # without a state: still to be loaded
        return None
    return summarise(key.decode(), stored)


def summarise(saga_id: str, stored: "Saga | _Stored") -> SagaSummary:
    """The summary of a saga."""
    return SagaSummary(
        saga_id=saga_id,
        associated_entity_id=stored.associated_entity_id,
        current_state=stored.current_state,
        business_state_id=stored.business_state_id,
        business_state_description=stored.business_state_description,
        is_final=stored.is_final,
        latest_event=stored.latest_event,
        seq=stored.seq,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
    )


def _is_wanted(stored: _Stored, wanted: SagaFilter) -> bool:
    return (
        bool(stored.current_state)  # empty: still to be loaded from a store
        and (wanted.state is None or stored.current_state == wanted.state)
        and (wanted.is_final is None or stored.is_final is wanted.is_final)
        and (wanted.entity is None or stored.associated_entity_id == wanted.entity)
        and (wanted.business_state is None or str(stored.business_state_id) == wanted.business_state)
        and (wanted.updated_before is None or stored.updated_at < wanted.updated_before)
    )


class CursorError(ValueError):
    """A cursor that was not made by whoever is asked to read it."""


def encode_cursor(place: object) -> str:
    """A place in a list as text that fits into a URL as it is."""
    return base64.urlsafe_b64encode(_encode_cursor(place)).rstrip(b"=").decode()


def decode_cursor(cursor: str, decode: Callable[[bytes], T]) -> T:
    """The place in a cursor that `encode_cursor` made, read with a JSON decoder of its type. Raises CursorError."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return decode(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, msgspec.MsgspecError):
        raise CursorError("this cursor does not come from this list") from None
