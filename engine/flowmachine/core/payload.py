"""Payloads and metadata as JSON text: encoded once when they change, then copied into commands and records."""

import msgspec

from flowmachine.core.definition import MetadataMerge, Payload, PayloadText
from flowmachine.core.merge import merge_shallow

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Payload).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_payload(payload: Payload) -> PayloadText:
    """A payload as text."""
    return msgspec.Raw(_encode(payload))


def decode_payload(text: PayloadText) -> Payload:
    """The payload in a text of ours."""
    return _decode(text)


def merge_into(metadata: PayloadText, payload: Payload, merge: MetadataMerge) -> PayloadText:
    """Metadata with a payload merged into it."""
    if not payload:
        return metadata
    if merge is merge_shallow:  # values are replaced whole, so those of the metadata need not be looked into
        return msgspec.Raw(_encode(_decode_fields(metadata) | payload))
    return encode_payload(merge(_decode(metadata), payload))
