"""Records of the `intake` topic: creations, events from HTTP, and events forwarded from other partitions.

An event has the services' own format. A creation is marked by a header and has the body of `POST /saga` as its value.
A header also marks what `flowmachine sagas import` leaves for engines that run.
"""

from typing import final

import msgspec

from flowmachine.core.definition import Payload
from flowmachine.wire.log import InputRecord
from flowmachine.wire.message import decode_json

INPUT_HEADER = "flowmachine-input"
ORIGIN_HEADER = "flowmachine-origin"
CREATE = b"create"
CREATE_HEADERS = ((INPUT_HEADER, CREATE),)
REREAD = b"reread"
REREAD_HEADERS = ((INPUT_HEADER, REREAD),)
REREAD_VALUE = b"{}"
"""Header and value of a record without key, which changes nothing. An engine notices only when it commits that somebody
else has had its partition; this makes it commit, and so read what was written to the partition's sagas."""


@final
class Creation(msgspec.Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /saga`."""

    associated_entity_id: str
    metadata: Payload


_decode_creation = msgspec.json.Decoder(Creation).decode
_encode = msgspec.json.Encoder().encode


def is_reread(record: InputRecord) -> bool:
    """Whether a record of the intake is there only to be committed."""
    return not record.key and (INPUT_HEADER, REREAD) in tuple(record.headers)


def decode_creation(value: bytes | None) -> Creation:
    """A creation from a record's value or a request's body. Raises MalformedError."""
    return decode_json(_decode_creation, value)


def encode_creation(creation: Creation) -> bytes:
    """A record's value for a creation."""
    return _encode(creation)
