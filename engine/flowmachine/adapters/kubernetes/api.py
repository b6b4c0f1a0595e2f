"""Requests to the API server over aiohttp, with the credentials that Kubernetes mounts into a pod.

The `kubernetes` package does the same and more; it would cost every engine tens of megabytes for these few requests.

| answer           | becomes                                                                               |
|------------------|---------------------------------------------------------------------------------------|
| 404, 409         | a value: there is no such object, or it has changed meanwhile                          |
| 429, 503, 504    | waited for as long as the server says, some times; then TransientError                  |
| 401              | ConfigurationError `store-credentials`                                                |
| 403              | ConfigurationError `store-permission`, with the server's words                        |
| 400, 413, 422    | RefusedObjectError: this object will never be taken                                   |
| other, no answer | TransientError                                                                        |
"""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, final

import aiohttp
import msgspec
from yarl import URL

from flowmachine.errors import ConfigurationError, TransientError

POD_CREDENTIALS: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
REQUEST_SECONDS_MAX: Final = 20.0
ATTEMPTS_MAX: Final = 4
"""Requests for one answer while the server is busy; then the batch is given back, and tried again later."""
PAUSE_SECONDS_MAX: Final = 10.0
CONNECTIONS_MAX: Final = 8
"""Requests at a time: enough to hide the round trip, too few to be what makes the server throttle."""
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_APPLY: Final = "application/apply-patch+yaml"
_JSON: Final = "application/json"
_BUSY: Final = frozenset({429, 503, 504})
_REFUSED: Final = frozenset({400, 413, 422})
_TOO_LARGE: Final = ("request is too large", "trying to send message larger")
"""etcd's words for an object beyond its limit, which the API server passes on as its own failure."""

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KubeConnection:
    """Where the API server is, and how to be believed. The token is read again, because it is replaced by and by."""

    url: str
    token_path: Path
    ca_path: Path


class RefusedObjectError(Exception):
    """The API server will not take this object, whatever happens."""


class ConflictError(Exception):
    """The object has changed since it was read, or has just been made by somebody else."""


@final
class _Status(msgspec.Struct, frozen=True):
    """What the API server says when it does not do what it was asked."""

    message: str = ""


def in_cluster_connection() -> KubeConnection:
    """The API server of the cluster in which this process runs. Raises ConfigurationError outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = POD_CREDENTIALS / "token", POD_CREDENTIALS / "ca.crt"
    if not host or not token.is_file():
        message = "the store `kubernetes` works in a pod only, whose service account has a token mounted"
        raise ConfigurationError.of("spec.persistence.type", "not-in-cluster", message)
    bracketed = f"[{host}]" if ":" in host else host
    return KubeConnection(f"https://{bracketed}:{port}", token, authority)


class KubeApi:
    """Opened at its first request."""

    def __init__(self, connection: KubeConnection) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None
        self._open_again = asyncio.Event()
        self._open_again.set()
        self._encode = msgspec.json.Encoder().encode

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = _JSON) -> Manifest | None:
        """The object or the list; None if there is none."""
        return await self._request("GET", path, query=query, accept=accept)

    async def apply(self, path: str, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply. With a resourceVersion in the manifest only if it is the server's: else ConflictError."""
        query = {"fieldManager": manager, "force": "true"}
        found = await self._request("PATCH", path, query=query, body=self._encode(manifest), content_type=_APPLY)
        if found is None:
            raise ConflictError
        return found

    async def delete(self, path: str, *, uid: str, resource_version: str) -> bool:
        """Delete exactly this object as it was seen; whether that was possible."""
        body = self._encode({"preconditions": {"uid": uid, "resourceVersion": resource_version}})
        try:
            return await self._request("DELETE", path, body=body) is not None
        except ConflictError:
            return False

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest | None:
        url = URL(self._connection.url + path).with_query(query)
        headers = {"Accept": accept, **({"Content-Type": content_type} if body is not None else {})}
        attempt = 0
        while True:
            attempt += 1
            await self._open_again.wait()
            status, answer, retry_after = await self._ask(method, url, headers, body)
            if status not in _BUSY:
                return _judge(status, answer, f"{method} {path}")
            if attempt == ATTEMPTS_MAX:
                raise TransientError(f"the API server is busy (it answers {status}): {_message(answer)}")
            await self._pause(retry_after or float(attempt))

    async def _ask(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, bytes, float | None]:
        try:
            session = self._session or self._open()
            token = (await asyncio.to_thread(self._connection.token_path.read_text)).strip()
            headers = {**headers, "Authorization": f"Bearer {token}"}
            async with session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
                return response.status, await response.read(), _seconds(response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise TransientError(f"the API server does not answer: {reason}") from error

    def _open(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cafile=self._connection.ca_path)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX, ssl=context),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
            headers={"User-Agent": "FlowMachine"},
        )
        return self._session

    async def _pause(self, seconds: float) -> None:
        """Hold all requests of this process back: the server is asked for less as a whole, not by turns."""
        if not self._open_again.is_set():
            await self._open_again.wait()
            return
        self._open_again.clear()
        try:
            await asyncio.sleep(min(seconds, PAUSE_SECONDS_MAX))
        finally:
            self._open_again.set()


def _judge(status: int, answer: bytes, doing: str) -> Manifest | None:
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return _decode(answer)
    if status == HTTPStatus.NOT_FOUND:
        return None
    message = _message(answer)
    if status == HTTPStatus.CONFLICT:
        raise ConflictError(message)
    if status == HTTPStatus.UNAUTHORIZED:
        text = "the API server does not accept the token of the pod's service account"
        raise ConfigurationError.of("persistence", "store-credentials", text)
    if status == HTTPStatus.FORBIDDEN:
        text = f"the pod's service account lacks a right: {message}"
        raise ConfigurationError.of("persistence", "store-permission", text)
    if status in _REFUSED or any(words in message for words in _TOO_LARGE):
        raise RefusedObjectError(message)
    raise TransientError(f"the API server answered {status} to {doing}: {message}")


def _decode(answer: bytes) -> Manifest:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransientError("what answers is no API server") from error


def _message(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Status).message[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return answer[:200].decode("utf-8", "replace")


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
