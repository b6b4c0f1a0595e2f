"""The API server as plain dicts: `kubernetes.aio` for addresses, TLS and tokens, and nothing of its models.

Models would drop fields that they do not know, and cost ten times what JSON costs. Every answer is one of: an object,
None (there is no such thing), ApiRefusedError (somebody must change something), ApiUnavailableError (try again).
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from flowmachine.config.documents import as_array, as_object
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError

REQUEST_SECONDS_MAX: Final = 20.0
"""A healthy API server answers in milliseconds; a busy one is given this long."""

WATCH_SECONDS: Final = 240
"""The server ends a watch after so long; then it is opened again. Proxies cut quiet connections after five minutes."""

CONNECTIONS_MAX: Final = 64
"""One for each watch (a kind in a namespace), and some for requests."""

NOT_FOUND: Final = 404
CONFLICT: Final = 409
GONE: Final = 410
_RETRIED: Final = frozenset({401, CONFLICT, 429})
_METADATA: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class KubeApi:
    """One connection pool to the API server."""

    def __init__(self, configuration: kube_client.Configuration) -> None:
        configuration.connection_pool_maxsize = CONNECTIONS_MAX
        # Any: the package is typed on paper, its parts below the models are not.
        self._configuration: Any = configuration
        self._rest: Any = kube_client.ApiClient(configuration).rest_client

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._configuration.host)

    async def close(self) -> None:
        """Close all connections."""
        await self._rest.close()

    async def get(self, path: str) -> Manifest | None:
        """The object, or None when there is none."""
        try:
            return await self._request("GET", path)
        except ApiRefusedError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(self, path: str, *, selector: str = "") -> list[Manifest]:
        """The objects that a label selector finds."""
        found = await self._request("GET", path, {"labelSelector": selector})
        return [as_object(item) for item in as_array(found.get("items"))]

    async def create(self, path: str, manifest: Manifest) -> Manifest:
        """Create an object."""
        return await self._request("POST", path, body=manifest)

    async def replace(self, path: str, manifest: Manifest) -> Manifest:
        """Replace an object; its resourceVersion must be the one that the server has, else ApiUnavailableError."""
        return await self._request("PUT", path, body=manifest)

    async def apply(self, path: str, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply: afterwards the fields of the manifest are the manager's and have these values."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._request("PATCH", path, query, manifest, content_type="application/apply-patch+yaml")

    async def patch(self, path: str, changes: Manifest) -> Manifest:
        """Merge changes into an object."""
        return await self._request("PATCH", path, body=changes, content_type="application/merge-patch+json")

    async def delete(self, path: str, *, uid: str) -> None:
        """Delete exactly this object; what depends on it follows in the background. Fine if it has gone already."""
        body: Manifest = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._request("DELETE", path, body=body)
        except ApiRefusedError as error:
            if error.status != NOT_FOUND:
                raise

    async def list_metadata(self, path: str, *, selector: str) -> Manifest:
        """The list, its objects without their content."""
        return await self._request("GET", path, {"labelSelector": selector}, accept=_METADATA.format("List"))

    async def watch_metadata(
        self, path: str, *, selector: str, resource_version: str
    ) -> AsyncGenerator[tuple[str, Manifest]]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object without its content), until the server ends it.

        Raises ApiUnavailableError when the version is too old, or the connection breaks.
        """
        query = {
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        response = await self._open("GET", path, query, accept=_METADATA.format(""), seconds=WATCH_SECONDS + 30)
        try:
            async for line in response.content:
                event = as_object(json.loads(line))
                kind, found = str(event.get("type")), as_object(event.get("object"))
                if kind == "ERROR":
                    raise ApiUnavailableError(f"watching {path}: {found.get('message')}")
                yield kind, found
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiUnavailableError(f"watching {path}: {_describe(error)}") from error
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Manifest:
        response = await self._open(
            method, path, query, body, accept=accept, content_type=content_type, seconds=REQUEST_SECONDS_MAX
        )
        try:
            return as_object(json.loads(await response.read()))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiUnavailableError(f"{method} {path}: {_describe(error)}") from error
        finally:
            response.release()

    async def _open(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        *,
        seconds: float,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        asked = urlencode({name: value for name, value in (query or {}).items() if value})
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "flowmachine-operator"}
        try:
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
            if token:
                headers["Authorization"] = token
            url = f"{self._configuration.host}{path}" + (f"?{asked}" if asked else "")
            timeout = aiohttp.ClientTimeout(total=seconds, connect=REQUEST_SECONDS_MAX)
            answered = await self._rest.request(method, url, headers, body, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answered.response
            if response.ok:
                return response
            text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiUnavailableError(f"{method} {path}: {_describe(error)}") from error
        raise _to_error(f"{method} {path}", response.status, text)


async def connect() -> KubeApi:
    """As the pod's service account, or as KUBECONFIG says. Raises ApiRefusedError when there is neither."""
    configuration = kube_client.Configuration()
    loaders: Any = kube_config
    try:
        loaders.load_incluster_config(configuration)
    except kube_config.ConfigException:
        try:
            await loaders.load_kube_config(client_configuration=configuration)
        except kube_config.ConfigException as error:
            message = f"there is neither a service account nor a usable KUBECONFIG: {error}"
            raise ApiRefusedError(0, "NoCluster", message) from error
    return KubeApi(configuration)


async def pause(seconds: float, stopping: asyncio.Event) -> bool:
    """Wait so long, or until the operator stops; tells whether it stops."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return False
    return True


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__


def _to_error(doing: str, status: int, text: str) -> ApiRefusedError | ApiUnavailableError:
    try:
        answer = as_object(json.loads(text))
    except ValueError:
        answer = {}
    message = str(answer.get("message") or f"HTTP {status}")
    # A wrong value in server-side apply, such as a quantity that is none, is answered with 500 and not with 422.
    is_wrong_value = status == 500 and "convert" in message
    if status in _RETRIED or (status >= 500 and not is_wrong_value):
        return ApiUnavailableError(f"{doing}: {message}")
    return ApiRefusedError(status, str(answer.get("reason") or "Unknown"), message)
