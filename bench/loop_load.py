"""The other side of a loop round: creates orders, answers their commands at once, and times them.

A process of its own. `in_flight` orders are kept under way: for each that ends the next begins. Per partition one
consumer of commands and one of saga records, both `read_committed`; answers and creations go out in batches, as many as
one fetch has brought. An order's time runs from when its creation is handed to the producer to when its final record
is read.

Prints one line of JSON: `{"sagas_per_second": ..., "latencies_ms": [...]}`, of the orders that end between 20 and
90 % of all: neither the first ones, which begin all at once, nor the last ones, which have less company.
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

from bench.bare import BATCH_BYTES, loop_factory
from bench.watching import open_watched, watch
from bench.workload import EVENTS, PARTITIONS, creation_value, lanes
from flowmachine.wire.intake import CREATE_HEADERS

FIRST, LAST = 0.2, 0.9
_STALL_SECONDS_MAX = 60.0
_BATCH_RECORDS = 500
_ANSWERS = [
    (b'"messageLabel":"%b"' % label, event)
    for label, event in zip((b"executePayment", b"prepareOrder", b"deliverOrder"), EVENTS, strict=True)
]
_FINAL = b'"isFinal":true'

Records = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Which orders go where, and how many."""

    bootstrap: str
    intake: str
    events: str
    commands: str
    sagas: str
    orders: int
    in_flight: int


class LoopLoad:
    """All orders of a round."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer
        self._waiting = [list(reversed(lane)) for lane in lanes(settings.orders)]
        self._count = sum(map(len, self._waiting))
        self._begun_at: dict[bytes, float] = {}
        self._ended: list[tuple[float, float]] = []
        """When an order ended, and how long it had taken; in the order of their ends."""
        self._all_done = asyncio.Event()

    async def run(self) -> dict[str, object]:
        """Send all orders round; returns the figures. Raises TimeoutError if they stall."""
        settings = self._settings
        async with asyncio.TaskGroup() as group:
            watchers = [
                group.create_task(watch(await open_watched(settings.bootstrap, topic, partition), take))
                for topic, take in ((settings.commands, self._answer), (settings.sagas, self._note))
                for partition in range(PARTITIONS)
            ]
            for partition in range(PARTITIONS):
                await self._begin(partition, settings.in_flight // PARTITIONS)
            await self._wait()
            for watcher in watchers:
                watcher.cancel()
        counted = self._ended[int(FIRST * self._count) : int(LAST * self._count)]
        seconds = counted[-1][0] - counted[0][0]
        latencies = [round(taken * 1000, 2) for _, taken in counted]
        return {"sagas_per_second": len(counted) / seconds, "latencies_ms": latencies}

    async def _wait(self) -> None:
        before = -1
        while len(self._ended) > before:
            before = len(self._ended)
            try:
                async with asyncio.timeout(_STALL_SECONDS_MAX):
                    await self._all_done.wait()
            except TimeoutError:
                continue
            return
        raise TimeoutError(f"{before:,} of {self._count:,} orders have ended, then none for {_STALL_SECONDS_MAX:.0f} s")

    async def _begin(self, partition: int, count: int) -> None:
        waiting = self._waiting[partition]
        keys = [waiting.pop() for _ in range(min(count, len(waiting)))]
        now = time.monotonic()
        self._begun_at.update((key, now) for key in keys)
        creations = [(key, creation_value(key)) for key in keys]
        await self._send(self._settings.intake, partition, creations, headers=CREATE_HEADERS)

    async def _answer(self, partition: int, records: Sequence[Any]) -> None:
        answers = [(record.key, event) for record in records for label, event in _ANSWERS if label in record.value]
        await self._send(self._settings.events, partition, answers)

    async def _note(self, partition: int, records: Sequence[Any]) -> None:
        now = time.monotonic()
        ended = [record.key for record in records if record.value and _FINAL in record.value]
        self._ended += [(now, now - self._begun_at.pop(key)) for key in ended]
        if len(self._ended) == self._count:
            self._all_done.set()
        await self._begin(partition, len(ended))

    async def _send(
        self, topic: str, partition: int, records: Records, *, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        for start in range(0, len(records), _BATCH_RECORDS):
            batch = self._producer.create_batch()
            for key, value in records[start : start + _BATCH_RECORDS]:
                batch.append(timestamp=None, key=key, value=value, headers=list(headers))
            await self._producer.send_batch(batch, topic, partition=partition)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.loop_load")
    for name in ("bootstrap", "intake", "events", "commands", "sagas"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("orders", "in-flight"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> dict[str, object]:
    arguments: dict[str, Any] = {"max_batch_size": BATCH_BYTES, "max_request_size": BATCH_BYTES}
    async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=0, **arguments) as producer:
        for topic in (settings.intake, settings.events):
            await producer.partitions_for(topic)
        return await LoopLoad(settings, producer).run()


if __name__ == "__main__":
    gc.disable()  # it lives for a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_run(parse()))))
