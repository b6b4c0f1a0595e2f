"""The participants of a users round: payments, parcels and the courier, written with `flowmachine.participants`.

One process with a consumer group each. Each works on a command for as long as it is told. The payment is confirmed with
`POST /event`, as a payment gateway calls back; parcels and courier answer over Kafka.
"""

import argparse
import asyncio
import itertools
import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from bench.bare import loop_factory
from bench.workload import EVENTS
from flowmachine.participants import Command, Event, KafkaTransport, Participant
from flowmachine.wire.message import decode_message

_HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where commands come from, where events go, and how long the work takes."""

    bootstrap: str
    events: str
    commands: str
    engines: tuple[str, ...]
    work_ms: int


def build_participants(settings: Settings, session: aiohttp.ClientSession) -> dict[str, Participant]:
    """All three, by the name of their group."""
    paid, prepared, delivered = (decode_message(event) for event in EVENTS)
    engines = itertools.cycle(settings.engines)
    payments, parcels, courier = Participant(), Participant(), Participant()

    async def work() -> None:
        if settings.work_ms:
            await asyncio.sleep(settings.work_ms / 1000)

    @payments.on("executePayment")
    async def execute_payment(command: Command) -> None:
        await work()
        value = {"messageLabel": paid.message_label, "messagePayload": paid.message_payload}
        body = json.dumps({"key": command.saga_id, "value": value})
        async with session.post(f"{next(engines)}/event", data=body, headers=_HEADERS) as answer:
            answer.raise_for_status()

    @parcels.on("prepareOrder")
    async def prepare_order(_: Command) -> Event:
        await work()
        return Event(prepared.message_label, prepared.message_payload)

    @courier.on("deliverOrder")
    async def deliver_order(_: Command) -> Event:
        await work()
        return Event(delivered.message_label, delivered.message_payload)

    return {"payments": payments, "parcels": parcels, "courier": courier}


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.users_participants")
    for name in ("bootstrap", "events", "commands"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--engines", type=lambda text: tuple(text.split(",")), required=True)
    parser.add_argument("--work-ms", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        running = [
            group.create_task(
                participant.run(
                    KafkaTransport(
                        [settings.bootstrap], [settings.commands], settings.events, f"{settings.events}-{name}"
                    )
                )
            )
            for name, participant in build_participants(settings, session).items()
        ]
        print("ready")
        await stopped.wait()
        for one in running:
            one.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_run(parse()))
