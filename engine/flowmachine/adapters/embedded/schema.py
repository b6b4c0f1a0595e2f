"""The tables of the file, and how it is opened.

| table         | one row per                 | holds                                                          |
|---------------|-----------------------------|----------------------------------------------------------------|
| topics        | topic                       | name, partition count, whether compacted                       |
| partitions    | partition of a topic        | the next offset to give out; the epoch of a home partition     |
| records       | record                      | timestamp, key, value, headers (MessagePack, NULL: none)       |
| group_offsets | group and partition         | the first offset that the group has not processed              |

`records.position` is `partition id << 40 | offset`: an integer primary key is SQLite's own order on disk, so that a
partition's records lie together, and a record of a kilobyte needs no overflow page (a WITHOUT ROWID table moves what
exceeds a quarter page). `records.compacted_partition` is set for records of compacted topics only; the unique index on
it and the key lets INSERT OR REPLACE drop the older record of a key. The view `log` shows it all in plain columns.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from flowmachine.adapters.embedded.failures import BUSY_SECONDS_MAX, is_busy, translate
from flowmachine.errors import ConfigurationError

Synchronous = Literal["FULL", "NORMAL"]
"""FULL: a commit is on disk when it returns. NORMAL: when the machine (not only the process) dies the last commits may
be lost; the file stays whole."""

SYNCHRONOUS_DEFAULT: Synchronous = "FULL"

APPLICATION_ID = 0x464D4C47
"""`FMLG`; tells our files from those of other programs."""

SCHEMA_VERSION = 1

_BUSY_TIMEOUT_MS = 5
"""SQLite's own waiting, kept short: it sleeps up to 100 ms between tries, we try again every millisecond."""

_BUSY_PAUSE_SECONDS = 0.001

_CHECKPOINT_PAGES = 4_000
"""The WAL is copied into the file every 16 MB instead of 4: fewer of the two extra fsyncs that this costs."""

_CACHE_KIB = 32 * 1024
"""Enough for the pages of a large transaction; with SQLite's 2 MB they would be written twice."""

_SQLITE_VERSION_MIN = (3, 37)
"""The first with STRICT tables."""

_TABLES = """
CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    compacted INTEGER NOT NULL
) STRICT;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic_id INTEGER NOT NULL REFERENCES topics (id),
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic_id, partition)
) STRICT;
CREATE TABLE records (
    position INTEGER PRIMARY KEY,
    compacted_partition INTEGER,
    timestamp INTEGER NOT NULL,
    key BLOB,
    value BLOB,
    headers BLOB
) STRICT;
CREATE UNIQUE INDEX newest_of_key ON records (compacted_partition, key) WHERE compacted_partition IS NOT NULL;
CREATE INDEX tombstones ON records (position) WHERE compacted_partition IS NOT NULL AND value IS NULL;
CREATE TABLE group_offsets (
    group_name TEXT NOT NULL,
    partition_id INTEGER NOT NULL REFERENCES partitions (id),
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, partition_id)
) STRICT, WITHOUT ROWID;
CREATE VIEW log AS
SELECT topics.name AS topic, partitions.partition, records.position & 0xFFFFFFFFFF AS "offset",
    datetime(records.timestamp / 1000, 'unixepoch') AS at, CAST(records.key AS TEXT) AS key,
    CAST(records.value AS TEXT) AS value
FROM records
JOIN partitions ON partitions.id = records.position >> 40
JOIN topics ON topics.id = partitions.topic_id;
"""

_T = TypeVar("_T")


def retry_while_busy(operation: Callable[[], _T]) -> _T:
    """The operation's result; while another connection is in the way it is tried again, `BUSY_SECONDS_MAX` at most."""
    deadline = time.monotonic() + BUSY_SECONDS_MAX
    while True:
        try:
            return operation()
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_PAUSE_SECONDS)


def open_database(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """A connection to the file, made and given its tables if it was not there; to be used by the calling thread only.

    Raises ConfigurationError (not ours, damaged, made by a newer version, not accessible), TransientError.
    """
    if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
        raise ConfigurationError.of(
            "sqlite",
            "sqlite-too-old",
            f"Python's SQLite is {sqlite3.sqlite_version}; the embedded log needs "
            f"{'.'.join(map(str, _SQLITE_VERSION_MIN))} or newer.",
        )
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_MS / 1000, isolation_level=None)
    except sqlite3.Error as error:
        raise translate(error, path) from error
    try:
        _prepare(connection, path, synchronous)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    except ConfigurationError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    is_new = retry_while_busy(lambda: _is_new(connection, path))
    retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchall())
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")  # savepoints keep what they may have to restore
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    if is_new:
        retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        if _is_new(connection, path):  # another process may have been faster
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is empty. Raises ConfigurationError if it is neither empty nor ours."""
    version = _pragma(connection, "user_version")
    if _pragma(connection, "application_id") != APPLICATION_ID:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] or version:
            raise ConfigurationError.of(
                str(path),
                "log-foreign",
                "this is a SQLite file of another program: give the log a path of its own.",
            )
        return True
    if version > SCHEMA_VERSION:
        raise ConfigurationError.of(
            str(path),
            "log-newer",
            f"the file was written by a newer FlowMachine (schema {version}, this one knows {SCHEMA_VERSION}): "
            "run that version, or start with a new file.",
        )
    return False


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
