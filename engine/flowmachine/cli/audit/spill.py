"""Records put aside in a temporary file and given back saga by saga: memory holds one saga's records at a time.

The file is a SQLite database in the folder for temporary files (`TMPDIR`); it needs about twice the size of the topics,
and is gone when the audit ends. Records without a key belong to no saga: each is a group of its own, with what is kept
about it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from flowmachine.audit.model import SagaRecords
from flowmachine.wire.intake import ORIGIN_HEADER
from flowmachine.wire.log import Headers, InputRecord, StoredRecord
from flowmachine.wire.unmatched import format_origin


class Role(IntEnum):
    """What a record is to its saga."""

    CHANGELOG = 0
    INPUT = 1
    UNMATCHED = 2
    COMMAND = 3


_INSERT = "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT * FROM records ORDER BY owner, role, topic, partition, position"
_OWNED, _OWNERLESS = b"k", b"o"

_encode_headers = msgspec.msgpack.Encoder().encode
_decode_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...]).decode


class Spill:
    """A context manager."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "audit.db", isolation_level=None, cached_statements=16)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "locking_mode = EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(
            "CREATE TABLE records (owner BLOB, role INTEGER, topic TEXT, partition INTEGER, position INTEGER, "
            "at INTEGER, key BLOB, value BLOB, headers BLOB)"
        )
        self._connection.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def add(self, role: Role, records: Sequence[InputRecord]) -> None:
        """Put records aside."""
        self._connection.executemany(
            _INSERT,
            [
                (
                    _owner(role, record),
                    int(role),
                    record.topic,
                    record.partition,
                    record.offset,
                    record.timestamp,
                    record.key,
                    record.value,
                    _encode_headers(tuple(record.headers)) if record.headers else None,
                )
                for record in records
            ],
        )

    def count_groups(self) -> int:
        """How many groups there are."""
        number: int = self._connection.execute("SELECT count(DISTINCT owner) FROM records").fetchone()[0]
        return number

    def groups(self) -> Iterator[SagaRecords]:
        """The records of every saga, one saga after the other."""
        rows = self._connection.execute(_SELECT)
        for owner, group in groupby(rows, key=lambda row: row[0]):
            lists: dict[Role, list[InputRecord]] = {role: [] for role in Role}
            for row in group:
                role = Role(row[1])
                if role is Role.CHANGELOG:
                    _keep_latest(lists[role], _record(row))
                else:
                    lists[role].append(_record(row))
            yield SagaRecords(
                key=owner[1:] if owner.startswith(_OWNED) else b"",
                changelog=lists[Role.CHANGELOG],
                inputs=lists[Role.INPUT],
                unmatched=lists[Role.UNMATCHED],
                commands=lists[Role.COMMAND],
            )


def _owner(role: Role, record: InputRecord) -> bytes:
    if record.key:
        return _OWNED + record.key
    origin = format_origin(record)
    if role is Role.UNMATCHED:
        origin = next(
            (text.decode("utf-8", "replace") for name, text in record.headers if name == ORIGIN_HEADER), origin
        )
    return _OWNERLESS + origin.encode()


def _keep_latest(changelog: list[InputRecord], record: InputRecord) -> None:
    """Of a run of records the last one is enough; tombstones between them tell of an earlier life."""
    if changelog and changelog[-1].value and record.value:
        changelog.pop()
    changelog.append(record)


def _record(row: Sequence[Any]) -> StoredRecord:
    headers: Headers = _decode_headers(row[8]) if row[8] else ()
    return StoredRecord(row[2], row[3], row[4], row[5], row[6], row[7], headers)
