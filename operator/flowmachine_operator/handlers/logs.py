"""Log lines of the operator: one JSON object each, or text for people; `extra` fields become fields of the line."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "settings"}
_NOISY: Final = {"kopf": logging.WARNING, "aiokafka": logging.CRITICAL, "aiohttp.access": logging.WARNING}
"""kopf tells of every event; aiokafka logs what it also raises, for every broker that is away."""


class _Formatter(logging.Formatter):
    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._is_json = is_json

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        level, text = record.levelname.lower(), record.getMessage()
        if self._is_json:
            line = {"time": time, "level": level, "logger": record.name, "message": text, **fields}
            return json.dumps(line, default=str, ensure_ascii=False)
        told = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{time} {level:<7} {text}{told}"


def set_up_logging(level: str, log_format: str) -> None:
    """From now on log to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(is_json=log_format == "json"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(least)
