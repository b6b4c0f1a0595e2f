"""HTTP servers of a test's own, on a free port of the loopback address."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(application: web.Application, context: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Serve until the block ends, over TLS with a context; gives the port."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()
