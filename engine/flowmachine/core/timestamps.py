"""Times as text: ISO 8601, UTC, milliseconds, `Z`, as JavaScript writes dates. Text of this form sorts by time."""

from datetime import UTC, datetime
from functools import lru_cache

_LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; a fifth digit would break the sorting."""


@lru_cache(maxsize=1024)  # records of one batch share their milliseconds
def format_timestamp(at_ms: int) -> str:
    """Milliseconds since 1970 as text, clamped to the years 1970..9999."""
    second, ms = divmod(min(max(at_ms, 0), _LATEST_MS), 1000)
    return f"{_format_second(second)}.{ms:03d}Z"


@lru_cache(maxsize=1024)
def parse_timestamp(text: str) -> int:
    """Milliseconds since 1970 of a time that `format_timestamp` wrote."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@lru_cache(maxsize=16)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
