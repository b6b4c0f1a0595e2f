"""How log lines look: one JSON object per line for machines, one short line for people at a terminal.

    {"time":"2026-11-23T12:00:00.123Z","level":"info","logger":"flowmachine.runtime.engine",
     "message":"partitions assigned","partitions":[0,1,2,3]}

    12:00:00.123 info  partitions assigned  partitions=[0, 1, 2, 3]

The fields after `message` are the `extra` of the call. Errors that say who must act are told in one line, with their
`code`; only what nobody expected brings its traceback. Nothing that looks like a secret is written: fields are masked
by name, credentials in addresses by form.

aiokafka is silent: it warns about every try that failed, and those are normal in transactions; what matters comes back
to us as an error. At `debug` it may speak, but never at its own debug level, which shows whole requests, logins too.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TextIO, cast

from flowmachine.core.timestamps import format_timestamp
from flowmachine.errors import FlowMachineError

LOG_FORMATS: Final = ("auto", "json", "pretty")
LOG_LEVELS: Final[Mapping[str, int]] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "critical": logging.CRITICAL,
    "silent": logging.CRITICAL + 10,
}
"""Python's names and those of Flow Manager's logger (pino), which teams have in their `LOG_LEVEL`."""

MASK: Final = "***"
_DEPTH_MAX: Final = 4
_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_STANDARD_FIELDS: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime"}
_OWN_FIELDS: Final = frozenset({"time", "level", "logger", "message", "traceback"})
_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|authorization|credential|cookie|api_?key|private_?key|sasl", re.IGNORECASE
)
_SECRET_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]*:[^/\s@]*(?=@)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def set_up_logging(*, log_format: str, level: str, stream: TextIO | None = None) -> None:
    """All loggers write to `stream` (the standard error output); `auto` is pretty on a terminal, else JSON."""
    output = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(output)
    is_pretty = is_pretty_format(log_format, output)
    handler.setFormatter(PrettyFormatter(is_coloured=_is_coloured(output)) if is_pretty else JsonFormatter())
    number = LOG_LEVELS[level]
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    is_debugging = number <= logging.DEBUG
    logging.getLogger("aiokafka").setLevel(logging.INFO if is_debugging else logging.CRITICAL)
    # It logs a traceback for whatever comes in that is not HTTP.
    logging.getLogger("aiohttp.server").setLevel(logging.DEBUG if is_debugging else logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(max(number, logging.WARNING))


def is_pretty_format(log_format: str, stream: TextIO) -> bool:
    """Whether lines on `stream` are for people."""
    return log_format == "pretty" or (log_format == "auto" and stream.isatty())


def to_json_line(entry: Mapping[str, object]) -> str:
    """The entry as one line of JSON, whatever it holds."""
    try:
        return json.dumps(entry, default=str, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):  # keys that are no texts, or a circle
        return json.dumps({key: str(value) for key, value in entry.items()}, separators=(",", ":"))


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        return to_json_line(
            {
                "time": format_timestamp(int(record.created * 1000)),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": mask_text(record.getMessage()),
                **_fields(record),
                **self._traceback(record),
            }
        )

    def _traceback(self, record: logging.LogRecord) -> dict[str, str]:
        traceback = unexpected_traceback(self, record)
        return {"traceback": traceback} if traceback else {}


class PrettyFormatter(logging.Formatter):
    """Time, level, message, fields: one line, with a traceback below it if the error was not expected."""

    def __init__(self, *, is_coloured: bool) -> None:
        super().__init__()
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        level = record.levelname.lower()
        clock = format_timestamp(int(record.created * 1000))[11:23]
        message = _on_one_line(mask_text(record.getMessage()))
        fields = " ".join(f"{key}={_shown(value)}" for key, value in _fields(record).items())
        traceback = unexpected_traceback(self, record)
        below = f"\n{traceback}" if traceback else ""
        if not self._is_coloured:
            return f"{clock} {level:7} {message}  {fields}".rstrip() + below
        colour = _COLOURS.get(level, "")
        line = f"{_DIM}{clock}{_PLAIN} {colour}{level:7} {message}{_PLAIN}"
        return (f"{line}  {_DIM}{fields}{_PLAIN}" if fields else line) + below


def unexpected_traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback of an error that nobody expected; empty for those that say who must act, and when there is none."""
    error = record.exc_info[1] if record.exc_info else None
    if record.exc_info is None or error is None or isinstance(error, FlowMachineError):
        return ""
    return mask_text(formatter.formatException(record.exc_info))


def mask_text(text: str) -> str:
    """The text without the user and password of any address in it."""
    return _SECRET_IN_ADDRESS.sub(MASK, text) if "@" in text else text


def mask_value(name: str, value: object, depth: int = 0) -> object:
    """A field's value without secrets: by the field's name, and by the names inside of it."""
    if _SECRET_NAME.search(name) and not isinstance(value, bool | int | float | None):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict | list | tuple) and depth >= _DEPTH_MAX:
        return "..."
    if isinstance(value, dict):
        entries = cast(dict[object, object], value)
        return {str(key): mask_value(str(key), item, depth + 1) for key, item in entries.items()}
    if isinstance(value, list | tuple):
        return [mask_value("", item, depth + 1) for item in cast(Sequence[object], value)]
    return value if isinstance(value, bool | int | float | None) else mask_text(str(value))


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in record.__dict__.items():
        if name not in _STANDARD_FIELDS and name != "taskName":
            fields[f"{name}_" if name in _OWN_FIELDS else name] = mask_value(name, value)
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FlowMachineError):
        fields.setdefault("reason", mask_text(str(error)))
        fields.setdefault("code", error.code)
    return fields


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else to_text(value)
    cleaned = _on_one_line(text)
    return json.dumps(cleaned, ensure_ascii=False) if isinstance(value, str) and " " in cleaned else cleaned


def to_text(value: object) -> str:
    """A value as people read it in a line."""
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _on_one_line(text: str) -> str:
    """Control characters written out: what services send must neither break lines nor steer a terminal."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def _is_coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")
