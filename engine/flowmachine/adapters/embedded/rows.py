"""Records to rows and back.

Writing takes many rows per statement, `INSERT ... VALUES (...), (...), ...`: 64 and, for the rest, the smaller powers
of two, so that SQLite's statement cache keeps all seven statements. Measured: 150,000 to 190,000 rows of a kilobyte per
second against 50,000 row by row, and fewer moments at which Python's interpreter lock changes hands.

Reading goes row by row. One aggregate over a page, its bytes in hexadecimal, changes hands only once, but was eight
times slower by itself and no faster beside a busy event loop.
"""

import sqlite3
from collections.abc import Sequence
from typing import final

import msgspec

from flowmachine.wire.log import OutputRecord, StoredRecord

OFFSET_BITS = 40
"""`position` is `partition id << 40 | offset`: 10^12 records per partition, and room for 8 million partitions."""

OFFSET_MASK = (1 << OFFSET_BITS) - 1

READ_BYTES_MAX = 16 * 1024 * 1024
"""A page ends with the record that reaches this size, so that a thousand large records do not fill the memory."""

_ROWS_PER_INSERT = (64, 32, 16, 8, 4, 2, 1)
"""The fastest size measured is 16 to 64; larger statements are slower again."""

_COLUMNS = 6

_INSERT = {
    rows: (
        "INSERT OR REPLACE INTO records (position, compacted_partition, timestamp, key, value, headers) VALUES "  # noqa: S608 - question marks
        + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    )
    for rows in _ROWS_PER_INSERT
}

_READ = (
    "SELECT position, timestamp, key, value, headers FROM records "
    "WHERE position >= ? AND position <= ? ORDER BY position LIMIT ?"
)

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode

_Value = int | bytes | None


@final
class Cursor(msgspec.Struct, frozen=True):
    """Where a reader stands in one partition."""

    partition_id: int
    topic: str
    partition: int
    next_offset: int


def insert_records(
    connection: sqlite3.Connection,
    records: Sequence[OutputRecord],
    *,
    first_position: int,
    compacted_partition: int | None,
    now_ms: int,
) -> None:
    """Give the records consecutive positions; in a compacted partition each replaces the one with its key."""
    values: list[_Value] = []
    for position, record in enumerate(records, first_position):
        timestamp = now_ms if record.timestamp is None else record.timestamp
        headers = _encode_headers(record.headers) if record.headers else None
        values += (position, compacted_partition, timestamp, record.key, record.value, headers)
    start, left = 0, len(records)
    for rows in _ROWS_PER_INSERT:
        while left >= rows:
            end = start + rows * _COLUMNS
            connection.execute(_INSERT[rows], values[start:end])
            start, left = end, left - rows


def read_page(connection: sqlite3.Connection, cursor: Cursor, records_max: int) -> list[StoredRecord]:
    """The records from the cursor on: `records_max` at most, fewer if they are large."""
    base = cursor.partition_id << OFFSET_BITS
    rows = connection.execute(_READ, (base | cursor.next_offset, base | OFFSET_MASK, records_max))
    topic, partition = cursor.topic, cursor.partition
    records: list[StoredRecord] = []
    size = 0
    for position, timestamp, key, value, headers in rows:
        decoded = _decode_headers(headers) if headers else ()
        records.append(StoredRecord(topic, partition, position - base, timestamp, key, value, decoded))
        size += len(value or b"")
        if size >= READ_BYTES_MAX:
            break
    rows.close()
    return records
