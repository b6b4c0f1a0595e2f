"""psycopg's exceptions as ours: who must act."""

from typing import Final

import psycopg
from psycopg_pool import PoolTimeout

from flowmachine.errors import ConfigurationError, TransientError

_CODES: Final = {
    "28": ("store-credentials", "the database refused the credentials"),
    "42501": ("store-permission", "the user lacks a right"),
    "42P01": ("store-missing", "a table is missing"),
    "3D": ("store-missing", "the database does not exist"),
    "3F": ("store-missing", "the schema does not exist"),
    "42": ("store-foreign", "the table is not as FlowMachine made it"),
}
"""By SQLSTATE, or its class: what it means to us."""

_AT_CONNECT: Final = {
    "password authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "permission denied for database": "42501",
    "does not exist": "3D",
}
"""libpq reports a refused connection as text only: these texts (of a server that speaks English) have a meaning."""


def is_of_a_row(error: psycopg.Error) -> bool:
    """Whether the data is at fault, not the server: invalid or too large for it, or against a constraint."""
    return (error.sqlstate or "")[:2] in {"22", "23", "54"}


def translate(error: Exception, doing: str) -> ConfigurationError | TransientError:
    """The exception to raise instead of psycopg's (or of a timeout)."""
    if isinstance(error, PoolTimeout | TimeoutError):
        return TransientError(f"while {doing}: no answer in time")
    if not isinstance(error, psycopg.Error):
        return TransientError(f"while {doing}: {type(error).__name__}")
    text = " ".join(str(error).split())
    state = error.sqlstate or next((code for part, code in _AT_CONNECT.items() if part in text), "")
    known = _CODES.get(state) or _CODES.get(state[:2])
    if known is None:
        return TransientError(f"while {doing}: {text or type(error).__name__}")
    code, meaning = known
    return ConfigurationError.of("persistence", code, f"while {doing}: {meaning} ({text})")
