"""The orders, and the customers who place them.

A customer whose request fails cannot know whether the order was taken, and asks again with the same Idempotency-Key:
the answer is then the id of the saga that exists already, if it does.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec

from flowmachine.core.definition import Payload
from flowmachine.errors import TransientError

DECLINED_SHARE: Final = 0.15
SOLD_OUT_SHARE: Final = 0.05
ARRIVAL_SECONDS: Final = 6.0
"""All orders arrive within about this time, long enough to watch."""
RATE_MIN: Final = 20.0
"""Orders a second at least, so that a few orders are over sooner."""
REQUESTS_MAX: Final = 48
"""Customers at a time; more than the engine needs to be busy, and few enough that requests do not wait here."""
RETRY_SECONDS: Final = 0.25
REQUEST_SECONDS_MAX: Final = 5.0

_ARTICLES: Final = ("teapot", "bicycle bell", "desk lamp", "umbrella", "chess set")
_CUSTOMERS: Final = ("Ada", "Grace", "Edsger", "Barbara", "Leslie", "Radia")


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer wants; whether it will go well is decided by the services, from what stands in it."""

    id: str
    metadata: Payload


@dataclass(slots=True)
class Ledger:
    """What the customers know: the saga of each order, when they asked for it, and how often they had to ask again."""

    saga_ids: dict[str, str] = field(default_factory=dict[str, str])
    asked_at: dict[str, float] = field(default_factory=dict[str, float])
    """By saga id, on the monotonic clock."""
    retries: int = 0


class _Created(msgspec.Struct, rename="camel"):
    saga_id: str


_decode_created = msgspec.json.Decoder(_Created).decode


def make_orders(count: int, seed: int) -> list[Order]:
    """`count` orders; of these a fixed share has a card that is declined or an article that is sold out."""
    drawn = random.Random(seed)  # noqa: S311 - makes up orders, protects nothing
    declined = round(count * DECLINED_SHARE)
    sold_out = round(count * SOLD_OUT_SHARE)
    fates = ["declined"] * declined + ["sold out"] * sold_out + ["fine"] * (count - declined - sold_out)
    drawn.shuffle(fates)
    return [
        Order(
            id=f"order-{number:04}",
            metadata={
                "customer": drawn.choice(_CUSTOMERS),
                "article": "moon rock" if fate == "sold out" else drawn.choice(_ARTICLES),
                "card": "expired" if fate == "declined" else "valid",
                "total": drawn.randrange(500, 20_000) / 100,
            },
        )
        for number, fate in enumerate(fates, start=1)
    ]


def arrival_rate(count: int) -> float:
    """Orders a second."""
    return max(RATE_MIN, count / ARRIVAL_SECONDS)


class Customers:
    """Place orders at a steady rate, each until it has been taken."""

    def __init__(self, url: Callable[[], str], ledger: Ledger) -> None:
        self._url = url
        self._ledger = ledger
        self._slots = asyncio.Semaphore(REQUESTS_MAX)

    async def place(self, orders: list[Order]) -> None:
        """Return when all orders have been taken."""
        rate = arrival_rate(len(orders))
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
        connector = aiohttp.TCPConnector(limit=REQUESTS_MAX)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            begin = time.monotonic()
            for number, order in enumerate(orders):
                await asyncio.sleep(begin + number / rate - time.monotonic())
                await self._slots.acquire()
                group.create_task(self._place_one(session, order))

    async def _place_one(self, session: aiohttp.ClientSession, order: Order) -> None:
        try:
            asked_at = time.monotonic()
            while (saga_id := await self._ask(session, order)) is None:
                self._ledger.retries += 1
                await asyncio.sleep(RETRY_SECONDS)
            self._ledger.saga_ids[order.id] = saga_id
            self._ledger.asked_at[saga_id] = asked_at
        finally:
            self._slots.release()

    async def _ask(self, session: aiohttp.ClientSession, order: Order) -> str | None:
        """The saga's id; None if nobody knows whether the order was taken. Raises TransientError if it cannot be."""
        body = {"associatedEntityId": order.id, "metadata": order.metadata}
        headers = {"Idempotency-Key": order.id}
        try:
            async with session.post(f"{self._url()}/saga", json=body, headers=headers) as answer:
                content = await answer.read()
                if answer.status == HTTPStatus.OK:
                    return _decode_created(content).saga_id
                if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    return None
                raise TransientError(f"POST /saga was answered with {answer.status}: {content[:300]!r}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
