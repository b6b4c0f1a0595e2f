"""Answers, and the one place where exceptions become answers.

Errors have the form that Flow Manager's users know (Fastify's): `{"statusCode", "error", "message"}`. What we did not
expect is answered with a reference only; the log line with the traceback carries the same reference.

| exception                           | answer                                                    |
|-------------------------------------|-----------------------------------------------------------|
| `RefusedError`                      | its own status: the request is wrong                      |
| `TransientError`                    | 503 with `Retry-After`                                    |
| `ConfigurationError`                | 503: a person must act first                              |
| aiohttp's (unknown path, method...) | its status and headers, in our form                       |
| any other                           | 500 with a reference                                      |

Bytes that are not HTTP never get here: aiohttp itself answers them with 400 in plain text and hangs up.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final, final

import msgspec
from aiohttp import hdrs, web

from flowmachine.errors import ConfigurationError, TransientError

JSON: Final = "application/json"
RETRY_AFTER_SECONDS: Final = 1
"""Long enough that a client does not spin, short enough for a rebalance, which is over in a few seconds."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@final
class ErrorAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The body of every answer that is not a success."""

    status_code: int
    error: str
    message: str


class RefusedError(Exception):
    """The request is wrong, or cannot be served now; the message says why in one sentence."""

    def __init__(self, status: HTTPStatus, message: str, *, is_last: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.is_last = is_last
        """Whether to hang up afterwards: what is left of the request is not worth reading."""


def answer(body: object, *, status: int = HTTPStatus.OK) -> web.Response:
    """`body` as JSON."""
    return answer_json(_encode(body), status=status)


def answer_json(body: bytes, *, status: int = HTTPStatus.OK) -> web.Response:
    """JSON that is encoded already."""
    return web.Response(body=body, status=status, content_type=JSON)


def answer_error(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error in Flow Manager's form; 503 says when to come back."""
    response = answer(ErrorAnswer(status.value, status.phrase, message), status=status.value)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    response.headers.update(headers or {})
    return response


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn every exception of a handler into an answer."""
    try:
        return await handler(request)
    except RefusedError as error:
        response = answer_error(error.status, error.message)
        if error.is_last:
            response.force_close()
        return response
    except TransientError as error:
        return answer_error(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    except ConfigurationError as error:
        return answer_error(HTTPStatus.SERVICE_UNAVAILABLE, f"the configuration must be changed: {error}")
    except web.HTTPException as error:
        return _answer_http(request, error)
    except Exception:  # noqa: BLE001 - the edge: nothing may get past it, and the log has it all
        reference = uuid.uuid4().hex[:12]
        _log.exception(
            "a request failed", extra={"reference": reference, "method": request.method, "path": request.path[:200]}
        )
        message = f"Something went wrong inside the engine. Its log says more under reference {reference}."
        return answer_error(HTTPStatus.INTERNAL_SERVER_ERROR, message)


def _answer_http(request: web.Request, error: web.HTTPException) -> web.Response:
    status = HTTPStatus(error.status)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path[:200]} does not take {request.method}; it takes {allowed}."
        return answer_error(status, message, {hdrs.ALLOW: allowed})
    if isinstance(error, web.HTTPNotFound):
        return answer_error(status, f"There is nothing at {request.path[:200]}. /openapi.json lists what there is.")
    return answer_error(status, f"{error.reason}.")
