"""Reads of sagas from the engines that own them."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from flowmachine.adapters.rest.session import describe_failure
from flowmachine.errors import TransientError

RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Far above any record that a log takes: a bound for whatever else may answer at this address."""
_HEADERS: Final = {"Flowmachine-Routed": "1"}


class HttpPeerReader:
    """Fulfils `ports.PeerReader` over the internal route of another engine's API (`api/handlers.py`)."""

    def __init__(self, session: aiohttp.ClientSession, *, timeout_seconds: float = 5.0) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def read(self, address: str, saga_id: str) -> bytes | None:
        """As the port says. A 404 counts only if an engine says it: the address may be somebody else's by now."""
        try:
            url = URL(f"http://{address}/-/internal/sagas/{quote(saga_id, safe='')}", encoded=True)
            async with self._session.get(
                url, headers=_HEADERS, allow_redirects=False, timeout=self._timeout
            ) as response:
                if response.status == HTTPStatus.OK:
                    return await self._read_record(response)
                if response.status == HTTPStatus.NOT_FOUND and response.headers.get("Flowmachine-Saga") == "unknown":
                    return None
                raise TransientError(f"the engine at {address} answered {response.status}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = describe_failure(error, self._timeout_seconds)
            raise TransientError(f"the engine at {address} did not answer: {reason}") from None

    async def _read_record(self, response: aiohttp.ClientResponse) -> bytes:
        record = bytearray()
        while chunk := await response.content.readany():
            record += chunk
            if len(record) > RECORD_BYTES_MAX:
                response.close()
                raise TransientError("what answered is no engine: the record does not end")
        return bytes(record)
