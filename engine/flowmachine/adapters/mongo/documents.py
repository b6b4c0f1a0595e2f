"""Sagas as documents and back: Flow Manager's nine fields, and the rest of the saga in `flowmachine`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import bson
import msgspec
from bson.errors import BSONError

from flowmachine.core.payload import decode_payload
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import format_timestamp
from flowmachine.ports import Refused, SagaCopy
from flowmachine.wire.document import OURS, UnreadableDocumentError, build_document, build_ours, decode_document

DOCUMENT_BYTES_MAX: Final = 16 * 1024 * 1024


def encode_copy(copy: SagaCopy) -> bytes | Refused:
    """The document as BSON, or why it cannot be one."""
    saga = copy.saga
    document = build_document(copy.saga_id, saga)
    fields: dict[str, Any] = {
        name: getattr(document, attribute)
        for attribute, name in zip(document.__struct_fields__, document.__struct_encode_fields__, strict=True)
    }
    fields["history"] = {
        "states": msgspec.json.decode(saga.history.states),
        "events": msgspec.json.decode(saga.history.events),
    }
    fields["metadata"] = decode_payload(saga.metadata)
    fields[OURS] = msgspec.json.decode(msgspec.json.encode(build_ours(saga)))
    try:
        encoded = bson.encode(fields)
    except (BSONError, OverflowError, ValueError) as error:
        return Refused(copy.saga_id, f"it cannot be a document: {error}")
    if len(encoded) > DOCUMENT_BYTES_MAX:
        return Refused(
            copy.saga_id, f"it would be a document of {len(encoded)} bytes; at most {DOCUMENT_BYTES_MAX} fit"
        )
    return encoded


def decode_found(document: Mapping[str, Any]) -> tuple[str, Saga | Refused]:
    """A document that was found by its `sagaId`; refused if it is no saga."""
    saga_id = str(document["sagaId"])
    try:
        return saga_id, decode_document(msgspec.json.encode(document, enc_hook=_encode_other))
    except (UnreadableDocumentError, msgspec.MsgspecError, TypeError, ValueError) as error:
        return saga_id, Refused(saga_id, str(error))


def _encode_other(value: Any) -> object:
    """What BSON has and JSON has not."""
    if isinstance(value, datetime):
        return format_timestamp(round(value.timestamp() * 1000))
    if isinstance(value, int):
        return int(value)
    return str(value)
