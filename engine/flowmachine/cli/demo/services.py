"""Payment, warehouse and courier: three participants, each with a consumer group of its own.

They know neither each other nor the machine, only their command and its events.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flowmachine.errors import TransientError
from flowmachine.participants.embedded import EmbeddedTransport
from flowmachine.participants.participant import Command, Event, Participant

WORK_SECONDS: Final = (0.02, 0.06)
"""How long a service pretends to work on one command."""
RETRY_SECONDS: Final = 0.2

PAYMENT: Final = Participant()
WAREHOUSE: Final = Participant()
COURIER: Final = Participant()
SERVICES: Final = {"payment": PAYMENT, "warehouse": WAREHOUSE, "courier": COURIER}


@PAYMENT.on("executePayment")
async def execute_payment(command: Command) -> Event:
    """Decline cards that have expired."""
    await _work()
    if command.payload.get("card") == "expired":
        return Event("paymentFailed", {"reason": "the card has expired"})
    return Event("paymentExecuted", {"paymentId": f"pay-{command.saga_id[-8:]}"})


@WAREHOUSE.on("prepareOrder")
async def prepare_order(command: Command) -> Event:
    """Everything is in stock but moon rock."""
    await _work()
    if command.payload.get("article") == "moon rock":
        return Event("preparationFailed", {"reason": "there is no moon rock left"})
    return Event("orderPrepared", {"parcel": f"parcel-{command.saga_id[-8:]}"})


@COURIER.on("deliverOrder")
async def deliver_order(_: Command) -> Event:
    """Our courier always finds the door."""
    await _work()
    return Event("orderDelivered", {"signedBy": "a neighbour"})


async def run_services(path: Path, *, commands: Sequence[str], events: str) -> None:
    """All three, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for name, participant in SERVICES.items():
            group.create_task(_run_service(participant, EmbeddedTransport(path, commands, events, group=name)))


async def _run_service(participant: Participant, transport: EmbeddedTransport) -> None:
    while True:
        with contextlib.suppress(TransientError):
            await participant.run(transport)
        await asyncio.sleep(RETRY_SECONDS)


async def _work() -> None:
    await asyncio.sleep(random.uniform(*WORK_SECONDS))  # noqa: S311 - pretends to work, protects nothing
