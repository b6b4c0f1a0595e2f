"""Who may use the API: bearer tokens, and pages of other origins (CORS). Both are off by default."""

import hmac
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from flowmachine.api.answers import answer_error

ANY_ORIGIN: Final = "*"
PREFLIGHT_SECONDS: Final = 600
_SCHEME: Final = "bearer "

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BearerTokens:
    """The tokens that open the API; several, so that one can be replaced while the other is still in use."""

    def __init__(self, tokens: Collection[str] = ()) -> None:
        self.tokens = tuple(tokens)

    @property
    def own(self) -> str | None:
        """The token that this engine shows to the machine's others."""
        return self.tokens[0] if self.tokens else None

    def opens(self, authorization: str) -> bool:
        """Whether a header has one of the tokens. Takes as long for a wrong one as for a right one."""
        is_bearer = authorization[: len(_SCHEME)].lower() == _SCHEME
        shown = authorization[len(_SCHEME) :].strip().encode("utf-8", "surrogateescape")
        found = [hmac.compare_digest(shown, token.encode()) for token in self.tokens]
        return is_bearer and any(found)


def build_guard(tokens: BearerTokens, open_names: frozenset[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware that asks for a token everywhere but on the routes of these names."""

    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        is_open = not tokens.tokens or request.match_info.route.name in open_names
        if is_open or tokens.opens(request.headers.get(hdrs.AUTHORIZATION, "")):
            return await handler(request)
        message = "This needs a token: send it as 'Authorization: Bearer ...'."
        return answer_error(HTTPStatus.UNAUTHORIZED, message, {hdrs.WWW_AUTHENTICATE: "Bearer"})

    return guard


def build_cors(origins: Collection[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware that lets pages of these origins use the API; `*` is any."""

    @web.middleware
    async def cors(request: web.Request, handler: _Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or (ANY_ORIGIN not in origins and origin not in origins):
            return await handler(request)
        is_preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        response = web.Response(status=HTTPStatus.NO_CONTENT) if is_preflight else await handler(request)
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY_ORIGIN if ANY_ORIGIN in origins else origin
        response.headers[hdrs.VARY] = hdrs.ORIGIN
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = hdrs.RETRY_AFTER
        if is_preflight:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_METHODS] = "GET, POST"
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = "Authorization, Content-Type, Idempotency-Key"
            response.headers[hdrs.ACCESS_CONTROL_MAX_AGE] = str(PREFLIGHT_SECONDS)
        return response

    return cors
