"""Secrets that change while the engine runs: Kubernetes writes a mounted Secret anew, others write their files."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowmachine.errors import ConfigurationError, TransientError

WATCH_SECONDS: Final = 5.0
"""A kubelet takes up to a minute to bring a changed Secret: this much more does not matter, and reading is cheap."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def watch(
    what: str,
    read: Callable[[], T],
    current: T | None,
    apply: Callable[[T], Awaitable[None]],
    *,
    seconds: float = WATCH_SECONDS,
) -> None:
    """Until cancelled: hand what `read` returns to `apply` whenever it is not `current` any more.

    What cannot be read, or is refused by `apply`, is said once; then the old value stays in use and the next round
    tries again.
    """
    said = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            found = await asyncio.to_thread(read)
            if found == current:
                said = ""
                continue
            await apply(found)
        except (ConfigurationError, TransientError) as error:
            if str(error) != said:
                said = str(error)
                _log.warning("changed secrets cannot be used yet", extra={"what": what, "reason": said})
        else:
            current, said = found, ""
            _log.info("changed secrets are in use", extra={"what": what})
