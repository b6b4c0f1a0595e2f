"""What all HTTP clients of a process share: one session, a bound of requests per host, words for what goes wrong."""

import asyncio
import ssl

import aiohttp
from yarl import URL


def open_session() -> aiohttp.ClientSession:
    """A session for RestSender and HttpPeerReader. Use it as an async context manager.

    No cookies, because answers are ignored; no decompression, for the same reason; no bound of connections, because
    `HostSlots` keeps a slow host's requests out of the way of the others before they need one.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=10, keepalive_timeout=15.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        headers={"User-Agent": "FlowMachine"},
    )


class HostSlots:
    """At most `per_host` requests at a time to each host and port, over all channels that lead there."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._slots: dict[tuple[str | None, int | None], asyncio.Semaphore] = {}

    def of(self, url: URL) -> asyncio.Semaphore:
        """The slots of a URL's host."""
        return self._slots.setdefault((url.host, url.port), asyncio.Semaphore(self._per_host))


def describe_failure(error: Exception, timeout_seconds: float) -> str:
    """What went wrong, in a few words of ours: the libraries' own may hold URLs with credentials, or headers."""
    match error:
        case TimeoutError():
            return f"no answer within {timeout_seconds:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "the host's name cannot be resolved"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return f"TLS failed ({_reason(error)})"
        case aiohttp.ClientConnectorError():
            return f"cannot connect ({error.os_error.strerror or type(error.os_error).__name__})"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed without an answer"
        case aiohttp.ClientResponseError():
            return "the answer is not HTTP"
        case _:
            return f"the connection broke ({type(error).__name__})"


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            cause = error.certificate_error
        case aiohttp.ClientConnectorError():
            cause = error.os_error
        case _:
            cause = error
    return getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__
