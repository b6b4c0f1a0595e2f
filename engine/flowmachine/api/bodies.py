"""What comes in: bodies, headers and ids, checked. Everything that is wrong is a `RefusedError` that names it."""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final, TypeVar, final

import msgspec
from aiohttp import hdrs, web

from flowmachine.api.answers import RefusedError
from flowmachine.core.definition import Payload
from flowmachine.core.trace import TraceContext
from flowmachine.wire.intake import Creation
from flowmachine.wire.message import MalformedError, decode_json
from flowmachine.wire.trace import TRACEPARENT, TRACESTATE, parse_trace_context

T = TypeVar("T")

ID_BYTES_MAX: Final = 512
"""Bound of saga ids: ours have about 40 bytes, and ids are keys in memory, in the log and in every index of a store."""
IDEMPOTENCY_KEY: Final = "Idempotency-Key"

_IDEMPOTENCY_KEY_FORM = re.compile(r"[\x21-\x7e]{1,255}")
_JSON_TYPE = re.compile(r"application/(?:[-\w.!#$&^+]+\+)?json", re.IGNORECASE)
_FIELD = re.compile(r" - at `\$\.?(.+)`$")


@final
class EventValue(msgspec.Struct, frozen=True, gc=False, rename="camel", forbid_unknown_fields=True):
    """The event itself; a `messagePayload` that is absent or null is `{}`."""

    message_label: str
    message_payload: Payload | None = None


@final
class EventBody(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The body of `POST /event`: `key` is the saga's id."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    value: EventValue


decode_creation_body = msgspec.json.Decoder(Creation).decode
decode_event_body = msgspec.json.Decoder(EventBody).decode


async def read_body(request: web.Request, decode: Callable[[bytes], T], *, bytes_max: int, seconds_max: float) -> T:
    """The request's body, decoded. Reads no more than `bytes_max`, and waits no longer than `seconds_max` for it."""
    check_content_type(request)
    if (request.content_length or 0) > bytes_max:
        raise too_large(bytes_max)
    try:
        async with asyncio.timeout(seconds_max):
            body = await request.read()
    except TimeoutError:
        message = f"The body did not arrive within {seconds_max:g} seconds."
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, message, is_last=True) from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large(bytes_max) from None
    except (web.RequestPayloadError, OSError):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "The body could not be read to its end.", is_last=True) from None
    return decode_body(body, decode)


def decode_body(body: bytes, decode: Callable[[bytes], T]) -> T:
    """A body as a value."""

    def decode_or_refuse(value: bytes) -> T:
        try:
            return decode(value)
        except msgspec.ValidationError as error:
            message = _FIELD.sub(r" (field `\1`)", str(error))
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"The body does not fit: {message}.") from None

    try:
        return decode_json(decode_or_refuse, body)
    except MalformedError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"The body cannot be used: {error}.") from None


def check_content_type(request: web.Request) -> None:
    """A body is JSON, or of no declared type."""
    declared = request.headers.get(hdrs.CONTENT_TYPE)
    if declared is not None and not _JSON_TYPE.fullmatch(declared.partition(";")[0].strip()):
        message = "The body must be JSON, sent with Content-Type: application/json."
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)


def check_saga_id(saga_id: str, *, name: str) -> str:
    """`saga_id`, if it may be one."""
    try:
        size = len(saga_id.encode())
    except UnicodeEncodeError:  # bytes that are not UTF-8, on their way through aiohttp
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{name} is not UTF-8.") from None
    if size > ID_BYTES_MAX:
        message = f"{name} has {size} bytes; a saga's id has at most {ID_BYTES_MAX}."
        raise RefusedError(HTTPStatus.BAD_REQUEST, message)
    return saga_id


def idempotency_key(request: web.Request) -> str | None:
    """The request's idempotency key, if it has one."""
    values = request.headers.getall(IDEMPOTENCY_KEY, [])
    if not values:
        return None
    if len(values) > 1 or not _IDEMPOTENCY_KEY_FORM.fullmatch(values[0]):
        message = f"{IDEMPOTENCY_KEY} must be given once, with 1 to 255 visible ASCII characters."
        raise RefusedError(HTTPStatus.BAD_REQUEST, message)
    return values[0]


def trace_context(request: web.Request) -> TraceContext | None:
    """The request's place in a trace; one that is not well-formed, or given twice, is as good as absent."""
    parents = request.headers.getall(TRACEPARENT, [])
    if len(parents) != 1:
        return None
    return parse_trace_context(parents[0], ",".join(request.headers.getall(TRACESTATE, [])))


def too_large(bytes_max: int) -> RefusedError:
    """The answer to a body that is too long."""
    message = f"The body has more than {bytes_max} bytes, which is the limit."
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message, is_last=True)
