"""Tokens for OAUTHBEARER: from an endpoint, by the client credentials grant (RFC 6749, 4.4), or from whoever has one.

aiokafka asks for a token whenever it opens a connection. What goes wrong is raised as one of its own errors, so that it
is told apart like any other reason not to get in: a refusal is for the user, everything else is tried again.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Final, final

import aiohttp
import msgspec
from aiokafka import errors as kafka
from aiokafka.abc import AbstractTokenProvider

from flowmachine.errors import ConfigurationError

TIMEOUT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 256 * 1024
"""Far above any token: HTTP headers with more than a few kilobytes are refused nearly everywhere."""
_LIFETIME_SHARE: Final = 0.8
"""A token is used for this part of its life: it must still be good when the broker looks at it."""
_LIFETIME_DEFAULT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens come from, and who asks. `tls` None: as the system trusts."""

    url: str
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scope: str | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@final
class _Answer(msgspec.Struct, frozen=True):
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: float | None = None


class EndpointTokens(AbstractTokenProvider):
    """Asks the endpoint, and again once most of the token's life is over."""

    def __init__(self, endpoint: TokenEndpoint) -> None:
        self._endpoint = endpoint
        self._token = ""
        self._fresh_until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - aiokafka's has no annotation
        """As aiokafka says."""
        async with self._lock:  # an engine opens many connections at once
            now = asyncio.get_running_loop().time()
            if now >= self._fresh_until:
                answer = await self._ask()
                self._token = answer.access_token
                lifetime = _LIFETIME_DEFAULT_SECONDS if answer.expires_in is None else answer.expires_in
                self._fresh_until = now + _LIFETIME_SHARE * lifetime
            return self._token

    async def _ask(self) -> _Answer:
        endpoint = self._endpoint
        form = {"grant_type": "client_credentials"} | ({"scope": endpoint.scope} if endpoint.scope else {})
        user = base64.b64encode(f"{endpoint.client_id}:{endpoint.client_secret}".encode()).decode()
        try:
            async with (
                aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)) as session,
                session.post(
                    endpoint.url,
                    data=form,
                    headers={"Accept": "application/json", "Authorization": f"Basic {user}"},
                    allow_redirects=False,
                    ssl=endpoint.tls if endpoint.tls is not None else True,
                ) as response,
            ):
                body = bytearray()
                while len(body) < ANSWER_BYTES_MAX and (chunk := await response.content.read(ANSWER_BYTES_MAX)):
                    body += chunk
                return _read_answer(response.status, bytes(body))
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            said = str(error) or type(error).__name__
            raise kafka.KafkaConnectionError(f"the token endpoint does not answer: {said}") from None


class GivenTokens(AbstractTokenProvider):
    """A token that someone else keeps fresh, such as one in a file: read whenever it is needed."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    async def token(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - aiokafka's has no annotation
        """As aiokafka says."""
        try:
            return (await asyncio.to_thread(self._read)).strip()
        except ConfigurationError as error:
            raise kafka.AuthenticationFailedError(str(error)) from None


def _read_answer(status: int, body: bytes) -> _Answer:
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise kafka.AuthenticationFailedError(
            f"the token endpoint answered {status}: check clientId, clientSecret, scope"
        )
    if status != HTTPStatus.OK:
        raise kafka.KafkaConnectionError(f"the token endpoint answered {status}")
    try:
        return msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise kafka.KafkaConnectionError("the token endpoint did not answer with a token in JSON") from None
