"""The load of a latency round, and its clock: sends events evenly, and notes when their commands can be read.

A process of its own, so that one clock times both ends and the programs under test are not disturbed. One consumer per
partition: a consumer of several holds back a partition that has data while it waits for the others, and we would
measure that instead. An event's latency counts from the moment when it was due, not from when it was sent: if this
process or the broker stalls, the events behind the stall have waited too (coordinated omission).

Prints one line of JSON: `{"latencies_ms": [...], "late_ms_p99": ...}`.
"""

import argparse
import asyncio
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.bare import loop_factory
from bench.watching import open_watched, watch
from bench.workload import EVENTS, PARTITIONS, lanes

_ARRIVAL_SECONDS_MAX = 20.0
_LEAD_SECONDS = 0.5
_LATE_QUANTILE = 0.99


@dataclass(frozen=True, slots=True)
class Settings:
    """Which events go where, and how fast."""

    bootstrap: str
    events: str
    commands: str
    rate: int
    seconds: int
    warm_seconds: int
    """At the beginning; these events are sent but not counted."""

    @property
    def count(self) -> int:
        """Events in all; each moves a saga of its own."""
        return self.rate * (self.seconds + self.warm_seconds)


class Load:
    """Events on their way."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._due: dict[bytes, float] = {}
        self._latencies: dict[bytes, float] = {}
        self._late: list[float] = []
        self._all_arrived = asyncio.Event()

    async def run(self) -> dict[str, object]:
        """Send everything; returns the figures. Raises TimeoutError if commands are missing."""
        keys = [key for group in zip(*lanes(self._settings.count), strict=True) for key in group]
        async with asyncio.TaskGroup() as group:
            topic, bootstrap = self._settings.commands, self._settings.bootstrap
            watchers = [
                group.create_task(watch(await open_watched(bootstrap, topic, partition), self._note))
                for partition in range(PARTITIONS)
            ]
            await self._send(keys)
            async with asyncio.timeout(_ARRIVAL_SECONDS_MAX):
                await self._all_arrived.wait()
            for watcher in watchers:
                watcher.cancel()
        counted = keys[self._settings.rate * self._settings.warm_seconds :]
        late = sorted(self._late)
        return {
            "latencies_ms": [round(self._latencies[key] * 1000, 2) for key in counted],
            "late_ms_p99": round(late[int(_LATE_QUANTILE * len(late))] * 1000, 2),
        }

    async def _note(self, _: int, records: Sequence[Any]) -> None:
        now = asyncio.get_running_loop().time()
        for record in records:
            key = record.key or b""
            due = self._due.pop(key, None)
            if due is not None:
                self._latencies[key] = now - due
        if len(self._latencies) == self._settings.count:
            self._all_arrived.set()

    async def _send(self, keys: Sequence[bytes]) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=0)
        await producer.start()
        try:
            await producer.partitions_for(settings.events)
            begin = loop.time() + _LEAD_SECONDS
            sent: list[asyncio.Future[object]] = []
            for number, key in enumerate(keys):
                due = begin + number / settings.rate
                await asyncio.sleep(max(due - loop.time(), 0))
                self._late.append(loop.time() - due)
                self._due[key] = due
                sent.append(await producer.send(settings.events, EVENTS[0], key, number % PARTITIONS))
            await asyncio.gather(*sent)
        finally:
            await producer.stop()


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    for name in ("bootstrap", "events", "commands"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("rate", "seconds", "warm-seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> dict[str, object]:
    return await Load(settings).run()


if __name__ == "__main__":
    gc.disable()  # it lives for half a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_run(parse()))))
