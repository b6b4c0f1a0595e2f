"""Questions to an engine over HTTP. An engine that says that it is busy is asked again for a while."""

import argparse
import http.client
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self, TypeVar, final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from flowmachine.core.definition import BusinessId
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.wire.listing import SagaPage, SagaSummary

T = TypeVar("T")

URL_DEFAULT: Final = "http://localhost:8080"
TIMEOUT_SECONDS: Final = 30.0
"""Longer than any question takes an engine, which gives up after ten seconds."""
BUSY_SECONDS_MAX: Final = 20.0
"""A rebalance is over within some seconds; what takes longer is worth a person's look."""
_BUSY_PAUSE_SECONDS: Final = 1.0
_PAGE_LIMIT: Final = 1000


@final
class StateEntry(msgspec.Struct, frozen=True, rename="camel"):
    """A state in a history. Flow Manager's own entries may lack the business state."""

    state: str
    timestamp: str
    business_state_id: BusinessId | None = None
    business_state_description: str | None = None


@final
class EventEntry(msgspec.Struct, frozen=True, rename="camel"):
    """An event in a history."""

    event: str
    timestamp: str
    business_event_description: str | None = None


@final
class HistoryView(msgspec.Struct, frozen=True):
    """What happened, oldest first."""

    states: list[StateEntry]
    events: list[EventEntry]


@final
class PendingView(msgspec.Struct, frozen=True, rename="camel"):
    """A command over HTTP that nobody has answered yet."""

    channel: str
    label: str
    failure: str | None = None


@final
class HeldView(msgspec.Struct, frozen=True, rename="camel"):
    """An event that waits until the machine knows the saga's state."""

    label: str
    received_at: str


@final
class SagaView(msgspec.Struct, frozen=True, rename="camel"):
    """What `get` shows of the answer of `GET /sagas/{sagaId}`."""

    saga_id: str
    associated_entity_id: str
    current_state: str
    business_state_id: BusinessId
    business_state_description: str
    is_final: bool
    seq: int
    revision: str
    created_at: str
    updated_at: str
    metadata: msgspec.Raw
    history: HistoryView
    outbox: list[PendingView]
    held: list[HeldView]


@final
class _Refusal(msgspec.Struct, frozen=True):
    message: str


def add_url_option(parser: argparse.ArgumentParser) -> None:
    """`--url`."""
    parser.add_argument("--url", default=URL_DEFAULT, help="the HTTP API of any engine of the machine (%(default)s)")


class EngineClient:
    """Asks one engine; a context manager, because the connection is kept between questions."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError.of("--url", "url-invalid", f"{url!r} is not a URL such as {URL_DEFAULT}")
        self._url = url
        self._path = parts.path.rstrip("/")
        self._has_answered = False
        """An engine that was there and is not is being started again, or has closed a connection that was idle."""
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        try:
            self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        except ValueError as error:  # the port is no number
            message = f"{url!r} is not a URL such as {URL_DEFAULT}: its port is no number up to 65535"
            raise ConfigurationError.of("--url", "url-invalid", message) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def pages(self, query: Mapping[str, str], count_max: int | None) -> Iterator[SagaPage]:
        """The pages of a list, up to `count_max` sagas (None: all)."""
        left, cursor = count_max, None
        while left is None or left > 0:
            limit = _PAGE_LIMIT if left is None else min(left, _PAGE_LIMIT)
            asked = {**query, "limit": str(limit), **({} if cursor is None else {"cursor": cursor})}
            page = _decode(self._get(f"/sagas?{urlencode(asked)}"), SagaPage, self._url)
            yield page
            cursor = page.next_cursor
            left = None if left is None else left - len(page.sagas)
            if cursor is None:
                return

    def sagas(self, query: Mapping[str, str], count_max: int | None) -> Iterator[SagaSummary]:
        """The sagas of these pages."""
        for page in self.pages(query, count_max):
            yield from page.sagas

    def saga(self, saga_id: str) -> tuple[SagaView, bytes]:
        """A saga, as a value and as the engine answered it."""
        body = self._get(f"/sagas/{quote(saga_id, safe='')}")
        return _decode(body, SagaView, self._url), body

    def _get(self, path: str) -> bytes:
        deadline = time.monotonic() + BUSY_SECONDS_MAX
        while True:
            try:
                status, body = self._ask(path)
            except TransientError:
                if not self._has_answered or time.monotonic() > deadline:
                    raise
            else:
                self._has_answered = True
                if status == HTTPStatus.OK:
                    return body
                message = _message(body)
                if status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise self._refusal(status, message)
                if time.monotonic() > deadline:
                    raise TransientError(f"the engine at {self._url} cannot answer now: {message or status}")
            time.sleep(_BUSY_PAUSE_SECONDS)

    def _refusal(self, status: int, message: str) -> ConfigurationError:
        if message:
            return ConfigurationError.of(self._url, "refused", message)
        text = f"what answers there is no engine (status {status}): say where one is with --url"
        return ConfigurationError.of(self._url, "no-engine", text)

    def _ask(self, path: str) -> tuple[int, bytes]:
        try:
            self._connection.request("GET", self._path + path, headers={"Accept": "application/json"})
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise TransientError(
                f"no engine answers at {self._url} ({detail}): start one with `flowmachine run`, or say where one is "
                "with --url"
            ) from None


def _decode(body: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigurationError.of(
            url, "no-engine", f"what answers there is no engine of this version: {error}"
        ) from None


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Refusal).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
