"""The operator's own HTTP server.

GET /healthz    200 while the process works as it should; what it does not, it ends itself for
GET /readyz     200 when it acts, or stands by to act; 503 with a sentence when it cannot reach what it needs
GET /metrics    Prometheus' text format
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from flowmachine_operator.metrics import Metrics

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Readiness:
    """What keeps the operator from being ready, in a sentence; empty when nothing does."""

    def __init__(self) -> None:
        self.problem = "starting"


@asynccontextmanager
async def run_probes(port: int, metrics: Metrics, readiness: Readiness) -> AsyncGenerator[None]:
    """Serve for as long as the context is open."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text=f"{readiness.problem or 'ok'}\n", status=503 if readiness.problem else 200)

    async def render(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": _METRICS_TYPE})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", render)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
