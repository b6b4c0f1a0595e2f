"""The load of a journey round: orders begin evenly, and a participant answers each command at once.

A process of its own with one clock, one consumer per partition, as `bench/load.py`. An order's time runs from when
its creation was due to when its final record can be read: four events, each with all that the engine does for it. The
participant's own part of it is in there, too.

Prints one line of JSON: `{"latencies_ms": [...]}`.
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.bare import loop_factory
from bench.watching import open_watched, watch
from bench.workload import EVENTS, PARTITIONS, creation_value, lanes
from flowmachine.wire.intake import CREATE_HEADERS
from flowmachine.wire.message import decode_message

_ARRIVAL_SECONDS_MAX = 30.0
_LEAD_SECONDS = 0.5
_ANSWERS = dict(zip(("executePayment", "prepareOrder", "deliverOrder"), EVENTS, strict=True))
_FINAL = b'"isFinal":true'


@dataclass(frozen=True, slots=True)
class Settings:
    """Which orders go where, and how fast."""

    bootstrap: str
    intake: str
    events: str
    commands: str
    sagas: str
    rate: int
    seconds: int
    warm_seconds: int
    """At the beginning; these orders are not counted."""

    @property
    def count(self) -> int:
        """Orders in all."""
        return self.rate * (self.seconds + self.warm_seconds)


class JourneyLoad:
    """Orders on their way."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer
        self._due: dict[bytes, float] = {}
        self._latencies: dict[bytes, float] = {}
        self._count = settings.count
        self._all_done = asyncio.Event()

    async def run(self) -> dict[str, object]:
        """Begin all orders; returns the figures. Raises TimeoutError if some do not end."""
        settings = self._settings
        keys = [key for group in zip(*lanes(settings.count), strict=True) for key in group]
        self._count = len(keys)  # as many for each partition
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(watch(await open_watched(settings.bootstrap, topic, partition), take))
                for topic, take in ((settings.commands, self._answer), (settings.sagas, self._note))
                for partition in range(PARTITIONS)
            ]
            await self._begin(keys)
            async with asyncio.timeout(_ARRIVAL_SECONDS_MAX):
                await self._all_done.wait()
            for watcher in watchers:
                watcher.cancel()
        counted = keys[settings.rate * settings.warm_seconds :]
        return {"latencies_ms": [round(self._latencies[key] * 1000, 2) for key in counted]}

    async def _begin(self, keys: Sequence[bytes]) -> None:
        settings = self._settings
        begin = time.monotonic() + _LEAD_SECONDS
        for number, key in enumerate(keys):
            due = begin + number / settings.rate
            await asyncio.sleep(max(due - time.monotonic(), 0))
            self._due[key] = due
            value, headers = creation_value(key), list(CREATE_HEADERS)
            await self._producer.send(settings.intake, value, key, number % PARTITIONS, headers=headers)

    async def _answer(self, partition: int, records: Sequence[Any]) -> None:
        for record in records:
            event = _ANSWERS.get(decode_message(record.value).message_label)
            if event is not None:
                await self._producer.send(self._settings.events, event, record.key, partition)

    async def _note(self, _: int, records: Sequence[Any]) -> None:
        now = time.monotonic()
        for record in records:
            if record.value and _FINAL in record.value and record.key in self._due:
                self._latencies[record.key] = now - self._due.pop(record.key)
        if len(self._latencies) == self._count:
            self._all_done.set()


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.journey_load")
    for name in ("bootstrap", "intake", "events", "commands", "sagas"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("rate", "seconds", "warm-seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> dict[str, object]:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=0) as producer:
        for topic in (settings.intake, settings.events):
            await producer.partitions_for(topic)
        return await JourneyLoad(settings, producer).run()


if __name__ == "__main__":
    gc.disable()  # it lives for half a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_run(parse()))))
