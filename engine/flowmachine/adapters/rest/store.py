"""Sagas behind a service: a persistency service of Flow Manager's (`rest`), or Mia-Platform's CRUD service (`crud`).

    rest    {method} {url}/{sagaId}                          GET {url}/{sagaId}
    crud    POST {url}/upsert-one?sagaId=...  {"$set": ...}   GET {url}/?sagaId=...

The documents are Flow Manager's nine fields and nothing else, because such services may refuse what they do not know.
So the guard is the length of the history, and it is looked up before the first write of a saga by this process: the
calls themselves cannot be guarded.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from flowmachine.adapters.rest.sender import build_headers
from flowmachine.adapters.rest.session import describe_failure
from flowmachine.core.saga import Saga, history_length
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Refused, SagaCopy
from flowmachine.wire.document import UnreadableDocumentError, build_document, decode_document

CALL_SECONDS: Final = 30.0
CONCURRENCY_MAX: Final = 32
"""Calls at a time: enough to hide a service's latency, few enough not to drown it."""
KNOWN_SAGAS_MAX: Final = 100_000
"""Sagas whose stored length is remembered: some megabytes, and one call less for each of their changes."""
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_REFUSALS: Final = frozenset({400, 409, 413, 414, 422, 431})
_FAULTS: Final = {
    401: ("store-credentials", "give it headers that it accepts"),
    403: ("store-permission", "grant what it asks for"),
    404: ("store-missing", "correct the path or the collection"),
    405: ("store-missing", "correct the path or the method"),
}


@dataclass(frozen=True, slots=True)
class RestCalls:
    """A persistency service."""

    url: URL
    method: str

    def upsert(self, saga_id: str, document: bytes) -> tuple[str, URL, bytes]:
        """Method, URL and body."""
        return self.method, self.find(saga_id), document

    def find(self, saga_id: str) -> URL:
        """What GET asks for."""
        return (
            self.url / saga_id
            if saga_id not in (".", "..")
            else self.url.joinpath(saga_id.replace(".", "%2E"), encoded=True)
        )

    def unpack(self, body: bytes) -> bytes | None:
        """The document in an answer."""
        return body if body.strip() not in (b"", b"null", b"{}") else None


@dataclass(frozen=True, slots=True)
class CrudCalls:
    """The CRUD service; `url` is the collection's."""

    url: URL

    def upsert(self, saga_id: str, document: bytes) -> tuple[str, URL, bytes]:
        """Method, URL and body."""
        return "POST", (self.url / "upsert-one").with_query({"sagaId": saga_id}), b'{"$set":' + document + b"}"

    def find(self, saga_id: str) -> URL:
        """What GET asks for."""
        return (self.url / "").with_query({"sagaId": saga_id})

    def unpack(self, body: bytes) -> bytes | None:
        """The document in an answer, which is a list."""
        found = msgspec.json.decode(body, type=list[msgspec.Raw])
        return bytes(found[0]) if found else None


class HttpStore:
    """Fulfils `ports.SagaStore`."""

    full: str = ""

    def __init__(
        self,
        calls: RestCalls | CrudCalls,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises ConfigurationError if a header cannot be sent."""
        self._calls = calls
        self._session = session
        self._headers = build_headers(headers, where="spec.persistence.configurations")
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._slots = asyncio.Semaphore(CONCURRENCY_MAX)
        self._known: OrderedDict[str, int] = OrderedDict()

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        """As the port says. All are tried, also when one of them fails."""
        results = await asyncio.gather(*(self._write(copy) for copy in copies), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Refused)]

    async def _write(self, copy: SagaCopy) -> Refused | None:
        length = history_length(copy.saga.history)
        async with self._slots:
            known = self._known.get(copy.saga_id)
            if known is None:
                found = await self._find(copy.saga_id)
                known = history_length(found.history) if isinstance(found, Saga) else 0
            if known > length:
                self._remember(copy.saga_id, known)
                return None
            document = msgspec.json.encode(build_document(copy.saga_id, copy.saga))
            method, url, body = self._calls.upsert(copy.saga_id, document)
            status, _ = await self._request(method, url, body)
            if status in _REFUSALS:
                return Refused(copy.saga_id, f"the store answered {status}")
            self._check(status)
            self._remember(copy.saga_id, length)
        return None

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        """As the port says."""

        async def find(saga_id: str) -> Saga | Refused | None:
            async with self._slots:
                return await self._find(saga_id)

        results = await asyncio.gather(*map(find, saga_ids), return_exceptions=True)
        found: dict[str, Saga | Refused] = {}
        for saga_id, result in zip(saga_ids, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                found[saga_id] = result
        return found

    async def tend(self, now_ms: int) -> None:
        """Nothing: what may be removed is the service's affair."""

    async def close(self) -> None:
        """Nothing: the session is the process's."""

    async def _find(self, saga_id: str) -> Saga | Refused | None:
        status, body = await self._request("GET", self._calls.find(saga_id), None)
        if status == HTTPStatus.NOT_FOUND:
            return None
        self._check(status)
        try:
            document = self._calls.unpack(body)
            return None if document is None else decode_document(document)
        except (UnreadableDocumentError, msgspec.MsgspecError) as error:
            return Refused(saga_id, str(error))

    async def _request(self, method: str, url: URL, body: bytes | None) -> tuple[int, bytes]:
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=self._headers,
                allow_redirects=False,
                ssl=self._tls,
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            ) as response:
                answer = bytearray()
                while chunk := await response.content.readany():
                    answer += chunk
                    if len(answer) > ANSWER_BYTES_MAX:
                        response.close()
                        raise TransientError("the store's answer does not end")
                return response.status, bytes(answer)
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            text = f"the store at {self._place}: {describe_failure(error, CALL_SECONDS)}; see `tls`"
            raise ConfigurationError.of("persistence", "store-tls", text) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransientError(f"the store: {describe_failure(error, CALL_SECONDS)}") from None

    @property
    def _place(self) -> URL:
        """The URL without what may be secret in it."""
        return self._calls.url.with_user(None).with_query(None)

    def _check(self, status: int) -> None:
        if 200 <= status < 300:
            return
        code, advice = _FAULTS.get(status, ("", ""))
        if code:
            message = f"the store at {self._place} answered {status}: {advice}"
            raise ConfigurationError.of("persistence", code, message)
        raise TransientError(f"the store answered {status}")

    def _remember(self, saga_id: str, length: int) -> None:
        self._known[saga_id] = length
        self._known.move_to_end(saga_id)
        if len(self._known) > KNOWN_SAGAS_MAX:
            self._known.popitem(last=False)
