"""SQLite's errors as ours: who must act, and a sentence that says what to do."""

import sqlite3
from pathlib import Path

from flowmachine.errors import ConfigurationError, FlowMachineError, InvariantError, TransientError

BUSY_SECONDS_MAX = 10.0
"""How long we try for the file's write lock. Transactions last milliseconds, so whoever keeps it that long hangs."""

_PRIMARY_CODE_MASK = 0xFF

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_UNREADABLE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NOT_ALLOWED = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH},
)
_PASSING = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_ABORT})


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; SQLITE_ERROR for errors of the Python module itself."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & _PRIMARY_CODE_MASK


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection was in the way and trying again may help."""
    return primary_code(error) in _BUSY


def translate(error: sqlite3.Error, path: Path) -> FlowMachineError:
    """The error to raise instead of SQLite's."""
    code = primary_code(error)
    if code in _BUSY:
        return TransientError(
            f"{path}: another process has kept the file locked for more than {BUSY_SECONDS_MAX:g} s; "
            "nothing was written. Is a shell or a backup holding a transaction open?",
        )
    if code == sqlite3.SQLITE_FULL:
        return TransientError(f"{path}: the disk is full (or the file's size limit reached); nothing was written.")
    if code in _PASSING:
        return TransientError(f"{path}: the disk could not be read or written ({error}).")
    if code in _UNREADABLE:
        return ConfigurationError.of(
            str(path),
            "log-unreadable",
            f"the file is damaged or not a log ({error}): put a backup in its place, or move the file (and its -wal "
            "and -shm neighbours) away to start with an empty log.",
        )
    if code in _NOT_ALLOWED:
        return ConfigurationError.of(
            str(path),
            "log-not-accessible",
            f"the file cannot be opened for writing ({error}): check that its folder exists and that this user may "
            "write the folder and the file.",
        )
    return InvariantError(f"{path}: SQLite refused a statement of ours: {error}")
