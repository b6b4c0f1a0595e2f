"""Commands over HTTP, in Flow Manager's form: `{"key": "<sagaId>", "value": {"messageLabel", "messagePayload"}}`.

Any 2xx is success and its body is ignored: a short one is read so that the connection can be used again, of a long one
nothing more than what has arrived already. Redirects are not followed: a POST would become a GET on the way.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal, final
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from flowmachine.adapters.rest.session import HostSlots, describe_failure
from flowmachine.core.definition import PayloadText
from flowmachine.errors import ConfigurationError, Problem, TransientError
from flowmachine.ports import NO_HEADERS
from flowmachine.wire.message import MessageText

IGNORED_BODY_BYTES_MAX: Final = 65_536
"""Reading this much is cheaper than a new connection; beyond it, it is not."""
IGNORED_BODY_SECONDS_MAX: Final = 1.0
HEADERS_OF_THE_CLIENT: Final = frozenset({"content-length", "transfer-encoding", "connection", "idempotency-key"})

_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_encode = msgspec.json.Encoder().encode


@final
class _Body(msgspec.Struct, frozen=True, gc=False):
    key: str
    value: MessageText


@dataclass(frozen=True, slots=True)
class RestEndpoint:
    """Where a channel's commands go. `headers` are resolved and may be secret: no `repr` and no message shows them."""

    host: str
    protocol: Literal["http", "https"] = "http"
    port: int | None = None
    path: str = "/"
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    tls: ssl.SSLContext | None = None
    timeout_seconds: float = 10.0
    where: str = ""
    """The channel's field path, for problems."""


class RestSender:
    """Fulfils `ports.CommandSender` for one channel."""

    def __init__(self, endpoint: RestEndpoint, session: aiohttp.ClientSession, slots: HostSlots) -> None:
        """Raises ConfigurationError if the endpoint makes no URL, or a header cannot be sent."""
        self._session = session
        self._slots = slots
        self.use(endpoint)

    def use(self, endpoint: RestEndpoint) -> None:
        """From the next command on send to `endpoint`. Raises as making a sender does; nothing has changed then."""
        url = build_url(endpoint)
        self._headers = build_headers(endpoint.headers, where=endpoint.where)
        self._url = url
        self._proxy = find_proxy(url)
        self._method = endpoint.method
        self._tls: ssl.SSLContext | bool = endpoint.tls if endpoint.tls is not None else True
        self._timeout_seconds = endpoint.timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=endpoint.timeout_seconds)
        self._slot = self._slots.of(self._url)
        self._name = f"{endpoint.method} {self._url.with_user(None).with_query(None).with_fragment(None)}"

    async def send(
        self,
        *,
        saga_id: str,
        label: str,
        payload: PayloadText,
        idempotency_key: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """As the port says. The time spent waiting for a slot of the host does not count."""
        sent = self._headers.copy()
        sent.update(headers)
        sent["Idempotency-Key"] = quote(idempotency_key, safe=_VISIBLE)
        body = _encode(_Body(saga_id, MessageText(label, payload)))
        async with self._slot:
            status = await self._request(body, sent)
        if not 200 <= status < 300:
            note = ", and redirects are not followed" if 300 <= status < 400 else ""
            raise TransientError(f"{self._name} answered {status}{note}")

    async def _request(self, body: bytes, headers: CIMultiDict[str]) -> int:
        try:
            async with self._session.request(
                self._method,
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=self._tls,
                proxy=self._proxy,
                timeout=self._timeout,
            ) as response:
                await _ignore_body(response)
                return response.status
        except (aiohttp.ClientError, OSError) as error:
            raise TransientError(f"{self._name}: {describe_failure(error, self._timeout_seconds)}") from None


async def _ignore_body(response: aiohttp.ClientResponse) -> None:
    """Take a short body off the connection; close it otherwise. What happens here does not change the outcome."""
    rest = IGNORED_BODY_BYTES_MAX
    if (response.content_length or 0) <= rest:
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(IGNORED_BODY_SECONDS_MAX):
                while rest > 0 and (chunk := await response.content.read(rest)):
                    rest -= len(chunk)
    if not response.content.at_eof():
        response.close()


def build_url(endpoint: RestEndpoint) -> URL:
    """The endpoint's URL. Raises ConfigurationError."""
    host = endpoint.host
    if ":" in host and "@" not in host and not host.startswith("["):
        host = f"[{host}]"  # an IPv6 address
    port = f":{endpoint.port}" if endpoint.port is not None else ""
    path = endpoint.path if endpoint.path.startswith("/") else f"/{endpoint.path}"
    try:
        url = URL(f"{endpoint.protocol}://{host}{port}{path}")
        if url.host and url.host.isprintable() and " " not in url.host:
            return url
    except ValueError:
        pass
    raise ConfigurationError.of(endpoint.where, "invalid-endpoint", "host, port and path do not make a URL")


def find_proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL (HTTP_PROXY, HTTPS_PROXY, NO_PROXY); None: there is none.

    Only commands go through it: other engines are reached directly.
    """
    is_direct = url.host is None or proxy_bypass(f"{url.host}:{url.port}")
    return None if is_direct else getproxies().get(url.scheme)


def build_headers(headers: Mapping[str, str], *, where: str) -> CIMultiDict[str]:
    """The headers of every request; `where` is their field path. Raises ConfigurationError, which shows no value."""
    problems: list[Problem] = []
    for name, value in headers.items():
        path = f"{where}.headers.{name}"
        if name.lower() in HEADERS_OF_THE_CLIENT:
            problems.append(Problem(path, "reserved-header", "this header is set by the engine; remove it"))
        elif any(char != "\t" and not char.isprintable() for char in value):
            message = "the value has a line break or another control character; look at the end of its file"
            problems.append(Problem(path, "invalid-header", message))
    if problems:
        raise ConfigurationError(problems)
    built = CIMultiDict({"Content-Type": "application/json"})
    built.update(headers)
    return built
