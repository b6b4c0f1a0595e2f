"""Records of the `unmatched` topic: inputs that changed nothing, as they came, with the reason in headers."""

from flowmachine.core.actions import Outcome
from flowmachine.wire.intake import ORIGIN_HEADER
from flowmachine.wire.log import InputRecord, OutputRecord

_FORWARDED_FROM_HEADER = "flowmachine-forwarded-from"
_SHORTENED_BYTES = 64 * 1024
"""What is kept of a value that would not fit beside its headers; the whole one is still at its origin."""

_HEADERS_BYTES_MAX = 5 * 1024
"""Room for the headers: 1,000 characters of four bytes, the longest topic name, and the names."""


def encode_unmatched(
    record: InputRecord, outcome: Outcome, reason: str, *, topic: str, partition: int, record_bytes_max: int
) -> OutputRecord:
    """The record that keeps `record` where people can look at it."""
    headers = [
        ("flowmachine-outcome", outcome.value.encode()),
        ("flowmachine-reason", reason[:1000].encode("utf-8", "replace")),
        (ORIGIN_HEADER, format_origin(record).encode()),
    ]
    headers += [(_FORWARDED_FROM_HEADER, value) for name, value in record.headers if name == ORIGIN_HEADER]
    key, value = record.key, record.value
    if len(key or b"") + len(value or b"") + _HEADERS_BYTES_MAX > record_bytes_max:
        key = key and key[:_SHORTENED_BYTES]
        value = value and value[:_SHORTENED_BYTES]
        headers.append(("flowmachine-shortened", b"true"))
    return OutputRecord(topic, key, value, partition=partition, headers=headers)


def format_origin(record: InputRecord) -> str:
    """Where a record was read: `topic/partition/offset`."""
    return f"{record.topic}/{record.partition}/{record.offset}"
