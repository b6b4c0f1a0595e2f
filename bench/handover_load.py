"""The load of a handover round: events evenly over all partitions until standard input ends, each a saga's first.

A process of its own, as `bench/load.py`, with one consumer per partition: it sees the commands of each,
whatever becomes of the others. It ends when the commands of all events that it has sent are there.

Prints one line of JSON: `{"begin": ..., "seen": [...]}`. Event number n was due at `begin` + n / rate, for partition
n modulo their number, and its command was seen at `seen[n]`; all in seconds of the monotonic clock, which all processes
of a machine share.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.bare import loop_factory
from bench.watching import open_watched, watch
from bench.workload import EVENTS, lanes

_ARRIVAL_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Which events go where, and how fast."""

    bootstrap: str
    events: str
    commands: str
    partitions: int
    sagas: int
    """As many are there; there cannot be more events."""
    rate: int


class HandoverLoad:
    """Events sent and commands seen."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer
        self._keys = [key for group in zip(*lanes(settings.sagas, settings.partitions), strict=True) for key in group]
        self._seen: dict[bytes, float] = {}
        self._expected = len(self._keys)
        self._all_seen = asyncio.Event()

    async def run(self) -> dict[str, object]:
        """Until standard input ends. Raises RuntimeError if there are too few sagas, TimeoutError for lost commands."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(watch(await open_watched(settings.bootstrap, settings.commands, number), self._note))
                for number in range(settings.partitions)
            ]
            begin, count = await self._send(group.create_task(asyncio.to_thread(sys.stdin.read)))
            self._expect(count)
            async with asyncio.timeout(_ARRIVAL_SECONDS_MAX):
                await self._all_seen.wait()
            for watcher in watchers:
                watcher.cancel()
        return {"begin": begin, "seen": [round(self._seen[key], 4) for key in self._keys[:count]]}

    async def _send(self, until: asyncio.Task[str]) -> tuple[float, int]:
        settings, begin = self._settings, time.monotonic()
        for number, key in enumerate(self._keys):
            await asyncio.sleep(max(begin + number / settings.rate - time.monotonic(), 0))
            if until.done():
                await self._producer.flush()
                return begin, number
            await self._producer.send(settings.events, EVENTS[0], key, number % settings.partitions)
        raise RuntimeError(f"{len(self._keys):,} sagas were too few")

    async def _note(self, _: int, records: Sequence[Any]) -> None:
        now = time.monotonic()
        for record in records:
            self._seen.setdefault(record.key, now)
        self._expect(self._expected)

    def _expect(self, count: int) -> None:
        self._expected = count
        if len(self._seen) >= count:
            self._all_seen.set()


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.handover_load")
    for name in ("bootstrap", "events", "commands"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("partitions", "sagas", "rate"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> dict[str, object]:
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=0) as producer:
        await producer.partitions_for(settings.events)
        return await HandoverLoad(settings, producer).run()


if __name__ == "__main__":
    gc.disable()  # it lives for two minutes, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_run(parse()))))
