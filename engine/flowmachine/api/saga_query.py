"""The query of `GET /sagas`: text from outside -> a filter, a limit and a cursor, or an error answer that names it."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final, final

import msgspec
from aiohttp import web

from flowmachine.api.answers import RefusedError
from flowmachine.core.timestamps import format_timestamp
from flowmachine.wire.listing import SagaFilter

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
VALUE_LENGTH_MAX: Final = 1024
"""Longer than any name or id that makes sense, and than any cursor."""

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "state": "Only sagas in this state.",
    "businessState": "Only sagas in the business state with this id.",
    "entity": "Only sagas of this `associatedEntityId`.",
    "finished": "`true`: only sagas in a final state; `false`: only the others.",
    "updatedBefore": "Only sagas whose latest change is older: ISO 8601 with a time zone, `2026-01-31T12:00:00Z`.",
    "limit": f"The most sagas of a page: 1 to {LIMIT_MAX}; {LIMIT_DEFAULT} unless it is given.",
    "cursor": "Where to go on: the `nextCursor` of the page before.",
}


@final
class SagaQuery(msgspec.Struct, frozen=True):
    """What is asked for."""

    wanted: SagaFilter
    limit: int
    cursor: str | None


def parse_saga_query(request: web.Request) -> SagaQuery:
    """The query of a request. Raises RefusedError."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in DESCRIPTIONS:
            raise _refused(f"There is no parameter {name[:100]!r}; there are {', '.join(DESCRIPTIONS)}.")
        if name in given:
            raise _refused(f"The parameter `{name}` must be given once.")
        if len(value) > VALUE_LENGTH_MAX:
            raise _refused(f"The parameter `{name}` has more than {VALUE_LENGTH_MAX} characters.")
        given[name] = value
    wanted = SagaFilter(
        state=given.get("state"),
        business_state=given.get("businessState"),
        entity=given.get("entity"),
        is_final=_parse_finished(given.get("finished")),
        updated_before=_parse_time(given.get("updatedBefore")),
    )
    return SagaQuery(wanted, _parse_limit(given.get("limit")), given.get("cursor"))


def _parse_finished(text: str | None) -> bool | None:
    if text is None:
        return None
    if text not in {"true", "false"}:
        raise _refused("The parameter `finished` must be true or false.")
    return text == "true"


def _parse_limit(text: str | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LIMIT_MAX):
        raise _refused(f"The parameter `limit` must be a number from 1 to {LIMIT_MAX}.")
    return int(text)


def _parse_time(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        message = "The parameter `updatedBefore` must be a time such as 2026-01-31T12:00:00Z"
        hint = " (a + in a URL must be written %2B)" if " " in text else ""
        raise _refused(f"{message}{hint}.") from None
    if time.tzinfo is None:
        raise _refused("The parameter `updatedBefore` needs a time zone: end it with Z.")
    return format_timestamp(round(time.timestamp() * 1000))


def _refused(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, message)
