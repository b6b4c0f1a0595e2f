"""Reads of sagas from the engines that own them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from flowmachine.adapters.rest.session import describe_failure
from flowmachine.errors import TransientError
from flowmachine.wire.listing import Scan, ScanRequest
from flowmachine.wire.outcome import EventOutcome, IntakePlace

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Far above any record that a log takes: a bound for whatever else may answer at this address."""
_HEADERS: Final = {"Flowmachine-Routed": "1"}

_encode_request = msgspec.json.Encoder().encode
_OUTCOME_SECONDS_MAX: Final = 15.0
"""Longer than an engine waits for an outcome."""
_decode_outcome = msgspec.json.Decoder(EventOutcome).decode
_decode_scan = msgspec.json.Decoder(Scan).decode


class HttpPeerReader:
    """Fulfils `ports.PeerReader` over the internal route of another engine's API (`api/handlers.py`)."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        timeout_seconds: float = 5.0,
        token: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`token` gives the bearer token that the other engines ask for, if they do."""
        self._session = session
        self._token = token
        self._timeout_seconds = timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def read(self, address: str, saga_id: str) -> bytes | None:
        """As the port says. A 404 counts only if an engine says it: the address may be somebody else's by now."""
        path = f"/-/internal/sagas/{quote(saga_id, safe='')}"
        async with self._get(address, path) as response:
            if response.status == HTTPStatus.OK:
                return await _read_whole(response)
            if response.status == HTTPStatus.NOT_FOUND and response.headers.get("Flowmachine-Saga") == "unknown":
                return None
            raise TransientError(f"the engine at {address} answered {response.status}")

    async def scan(self, address: str, request: ScanRequest) -> Scan:
        """As the port says."""
        path = f"/-/internal/sagas?request={quote(_encode_request(request), safe='')}"
        async with self._get(address, path) as response:
            if response.status != HTTPStatus.OK:
                raise TransientError(f"the engine at {address} answered {response.status}")
            body = await _read_whole(response)
        try:
            return _decode_scan(body)
        except msgspec.MsgspecError as error:
            raise TransientError(f"what answered at {address} is no engine of this version: {error}") from None

    async def outcome(self, address: str, place: IntakePlace) -> EventOutcome:
        """As the port says. The owner waits, and says itself that it took too long."""
        path = f"/-/internal/outcomes/{place.partition}/{place.offset}"
        async with self._get(address, path, seconds_max=_OUTCOME_SECONDS_MAX) as response:
            if response.status != HTTPStatus.OK:
                raise TransientError(f"the engine at {address} answered {response.status}")
            body = await _read_whole(response)
        try:
            return _decode_outcome(body)
        except msgspec.MsgspecError as error:
            raise TransientError(f"what answered at {address} is no engine of this version: {error}") from None

    @asynccontextmanager
    async def _get(
        self, address: str, path: str, *, seconds_max: float | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        limit = self._timeout if seconds_max is None else aiohttp.ClientTimeout(total=seconds_max)
        token = self._token()
        headers = _HEADERS if token is None else {**_HEADERS, "Authorization": f"Bearer {token}"}
        try:
            url = URL(f"http://{address}{path}", encoded=True)
            async with self._session.get(url, headers=headers, allow_redirects=False, timeout=limit) as response:
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = describe_failure(error, self._timeout_seconds)
            raise TransientError(f"the engine at {address} did not answer: {reason}") from None


async def _read_whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            response.close()
            raise TransientError("what answered is no engine: its answer does not end")
    return bytes(body)
