"""The options that say which sagas are meant."""

import argparse
import re
import time
from datetime import datetime
from typing import Final

from flowmachine.core.timestamps import format_timestamp

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """One option for each parameter of `GET /sagas`."""
    parser.add_argument("--state", metavar="ID", help="only sagas in this state")
    parser.add_argument("--business-state", metavar="ID", help="only sagas in the business state with this id")
    parser.add_argument("--entity", metavar="ID", help="only sagas of this associatedEntityId")
    parser.add_argument(
        "--finished", action=argparse.BooleanOptionalAction, help="only sagas that have finished, or only the others"
    )
    parser.add_argument(
        "--updated-before",
        metavar="TIME",
        type=parse_time,
        help="only sagas that have not changed since: 90s, 15m, 2h or 7d ago, or a time such as 2026-01-31T12:00:00Z",
    )


def build_query(arguments: argparse.Namespace) -> dict[str, str]:
    """The parameters of `GET /sagas` for the options that were given."""
    finished: bool | None = arguments.finished
    given = {
        "state": arguments.state,
        "businessState": arguments.business_state,
        "entity": arguments.entity,
        "finished": None if finished is None else str(finished).lower(),
        "updatedBefore": arguments.updated_before,
    }
    return {name: value for name, value in given.items() if value is not None}


def parse_time(text: str) -> str:
    """A time, or how long ago it was, as records have it. Raises ArgumentTypeError."""
    duration = _DURATION.fullmatch(text)
    if duration is not None:
        ago = int(duration[1]) * _UNIT_SECONDS[duration[2]]
        return format_timestamp(round((time.time() - ago) * 1000))
    try:
        return format_timestamp(round(datetime.fromisoformat(text).astimezone().timestamp() * 1000))
    except (ValueError, OverflowError):
        message = f"{text!r} is neither a duration (90s, 15m, 2h, 7d) nor a time (2026-01-31T12:00:00Z)"
        raise argparse.ArgumentTypeError(message) from None
