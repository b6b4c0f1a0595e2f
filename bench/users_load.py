"""The users of a users round: each creates a saga over HTTP, waits for its end, thinks, and begins again.

A process of its own. A saga's time runs from before its `POST /saga` until its final record can be read; one
`read_committed` consumer per partition looks for it.

Prints one line of JSON: `{"orders": ..., "sagas_per_second": ..., "latencies_ms": [...]}`: all orders, and those
that ended after the first seconds.
"""

import argparse
import asyncio
import gc
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.bare import loop_factory
from bench.http_load import create_saga
from bench.watching import open_watched, watch

_FINAL = b'"isFinal":true'
_END_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Who does what, for how long."""

    bootstrap: str
    sagas: str
    partitions: int
    ports: tuple[int, ...]
    """Of the engines; users take turns."""
    users: int
    think_seconds: tuple[float, float]
    """Between a saga's end and the user's next: evenly drawn from this range."""
    seconds: int
    warm_seconds: int


class UsersLoad:
    """All users."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ends: dict[bytes, asyncio.Future[float]] = {}
        self._ended: list[tuple[float, float]] = []
        """When a saga ended, and how long it had taken."""

    async def run(self) -> dict[str, object]:
        """For as long as the settings say; returns the figures. Raises TimeoutError if a saga does not end."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(watch(await open_watched(settings.bootstrap, settings.sagas, number), self._note))
                for number in range(settings.partitions)
            ]
            counted_from = time.monotonic() + settings.warm_seconds
            until = counted_from + settings.seconds
            await asyncio.gather(*(self._live(number, until) for number in range(settings.users)))
            for watcher in watchers:
                watcher.cancel()
        counted = [taken for at, taken in self._ended if counted_from <= at < until]
        return {
            "orders": len(self._ended),
            "sagas_per_second": len(counted) / settings.seconds,
            "latencies_ms": [round(taken * 1000, 2) for taken in counted],
        }

    async def _live(self, number: int, until: float) -> None:
        settings, thoughts = self._settings, random.Random(number)
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.ports[number % len(settings.ports)])
        try:
            await asyncio.sleep(thoughts.uniform(0, settings.think_seconds[1]))
            while (began := time.monotonic()) < until:
                answer = await create_saga(reader, writer)
                end = self._end(json.loads(answer)["sagaId"].encode())
                async with asyncio.timeout(_END_SECONDS_MAX):
                    ended = await end
                self._ended.append((ended, ended - began))
                await asyncio.sleep(thoughts.uniform(*settings.think_seconds))
        finally:
            writer.close()

    def _end(self, key: bytes) -> asyncio.Future[float]:
        return self._ends.setdefault(key, asyncio.get_running_loop().create_future())

    async def _note(self, _: int, records: Sequence[Any]) -> None:
        now = time.monotonic()
        for record in records:
            if record.value and _FINAL in record.value and not self._end(record.key).done():
                self._end(record.key).set_result(now)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _range(text: str) -> tuple[float, float]:
    least, _, most = text.partition(",")
    return float(least), float(most)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.users_load")
    for name in ("bootstrap", "sagas"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("partitions", "users", "seconds", "warm-seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--ports", type=_numbers, required=True)
    parser.add_argument("--think-seconds", type=_range, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    gc.disable()  # it lives for half a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(UsersLoad(parse()).run())))
