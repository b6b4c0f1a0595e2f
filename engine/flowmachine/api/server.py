"""The HTTP server: an application from the table of routes, and a socket to serve it on."""

import errno
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from flowmachine.api.access import BearerTokens, build_cors, build_guard
from flowmachine.api.answers import answer, answer_errors
from flowmachine.api.handlers import (
    METRICS_TYPE,
    ApiSettings,
    EngineView,
    Handlers,
    SagaGateway,
    SagaScanner,
    build_store_health,
)
from flowmachine.api.lifecycle import Lifecycle
from flowmachine.api.openapi import build_openapi
from flowmachine.api.routes import ROUTES
from flowmachine.errors import ConfigurationError
from flowmachine.ports import SagaFinder
from flowmachine.runtime.projector import StoreStatus

__all__ = ["ApiSettings", "BearerTokens", "Lifecycle", "build_application", "build_probes", "run_server"]

LINGER_SECONDS_MAX: Final = 2.0
"""How long the rest of a refused body is still read, so that a client that is sending gets to see the answer."""

_SETTINGS = web.AppKey("settings", ApiSettings)
_log = logging.getLogger(__name__)


def build_application(
    gateway: SagaGateway,
    finder: SagaFinder,
    scanner: SagaScanner,
    engine: EngineView,
    machine_definition: Mapping[str, Any],
    configuration: Mapping[str, Any],
    metrics: Callable[[], bytes],
    settings: ApiSettings,
    *,
    lifecycle: Lifecycle,
    tokens: BearerTokens | None = None,
    store_status: Callable[[], StoreStatus | None] = lambda: None,
) -> web.Application:
    """The whole API. `configuration` is shown as it is: whoever builds it has taken all secrets out."""
    handlers = Handlers(
        gateway=gateway,
        finder=finder,
        scanner=scanner,
        engine=engine,
        lifecycle=lifecycle,
        store_status=store_status,
        machine_definition=machine_definition,
        configuration=configuration,
        metrics=metrics,
        openapi=build_openapi([operation for operation, _ in ROUTES], version=settings.version),
        settings=settings,
    )
    open_names = frozenset(operation.name for operation, _ in ROUTES if not operation.is_protected)
    application = _new_application(settings)
    application.middlewares.append(build_guard(tokens or BearerTokens(), open_names))
    if settings.cors_origins:
        application.middlewares.insert(0, build_cors(settings.cors_origins))  # refusals must be readable, too
    for operation, handle in ROUTES:
        add = application.router.add_get if operation.method == "GET" else application.router.add_post
        add(operation.path.replace("}", ":[^/]+}"), partial(handle, handlers), name=operation.name)
    return application


def build_probes(
    store_status: Callable[[], StoreStatus], metrics: Callable[[], bytes], settings: ApiSettings
) -> web.Application:
    """Probes and metrics of a projector without an engine. What the store does is no reason to start it anew."""

    async def tell_health(_: web.Request) -> web.StreamResponse:
        return answer(build_store_health(settings, store_status()))

    async def tell_metrics(_: web.Request) -> web.StreamResponse:
        return web.Response(body=metrics(), headers={hdrs.CONTENT_TYPE: METRICS_TYPE})

    application = _new_application(settings)
    for path in ("/-/healthz", "/-/ready", "/-/check-up"):
        application.router.add_get(path, tell_health)
    application.router.add_get("/-/metrics", tell_metrics)
    return application


def _new_application(settings: ApiSettings) -> web.Application:
    application = web.Application(middlewares=[answer_errors], client_max_size=settings.body_bytes_max)
    application[_SETTINGS] = settings
    application.on_response_prepare.append(_complete_headers)
    return application


@asynccontextmanager
async def run_server(application: web.Application, host: str, port: int) -> AsyncGenerator[int]:
    """Serve until the block ends; gives the bound port, which is a free one if `port` is 0.

    At the end new connections are refused, and requests in progress are answered first. Raises ConfigurationError when
    the address cannot be bound.
    """
    settings = application[_SETTINGS]
    runner = web.AppRunner(
        application,
        handle_signals=False,
        access_log_class=_AccessLogger,
        access_log=_log,
        logger=_ProtocolLogger(_log),
        keepalive_timeout=settings.idle_seconds_max,
        lingering_time=min(LINGER_SECONDS_MAX, settings.body_seconds_max),
        shutdown_timeout=settings.shutdown_seconds_max,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise _cannot_listen(error, host, port) from error
        _log.info("the HTTP API listens", extra={"host": host, "port": site.port})
        yield site.port
    finally:
        await runner.cleanup()


def _cannot_listen(error: OSError, host: str, port: int) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError.of("", "port-in-use", f"port {port} of {host} is in use; choose another with --http")
    # asyncio repeats the address in `strerror`; an error of the name service has a negative number of its own.
    number = error.errno or 0
    detail = os.strerror(number) if number > 0 else error.strerror or str(error)
    message = f"the HTTP API cannot listen on {host} port {port} ({detail}); choose another address with --http"
    return ConfigurationError.of("", "cannot-listen", message)


async def _complete_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = "FlowMachine"
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


class _ProtocolLogger(logging.LoggerAdapter[logging.Logger]):
    """What aiohttp says about connections. Anybody can send bytes that are not HTTP: that is worth no traceback."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if isinstance(kwargs.get("exc_info"), HttpProcessingError):
            level = logging.DEBUG
        super().log(level, msg, *args, **kwargs)


class _AccessLogger(AbstractAccessLogger):
    """One line per request, for those who debug."""

    @property
    def enabled(self) -> bool:
        return self.logger.isEnabledFor(logging.DEBUG)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        self.logger.debug(
            "request",
            extra={
                "method": request.method,
                "path": request.path[:200],
                "status": response.status,
                "seconds": round(time, 4),
                "remote": request.remote,
            },
        )
