"""The load of latency rounds, and its clock: sends events, and notes when their commands can be read.

A process of its own, so that one clock times both ends and the programs under test are not disturbed. One consumer per
partition (`bench/watching.py`), and one batch of events at a time to each partition: what may go while one is on its
way goes with the next. Times are `time.monotonic`'s: uvloop's own go by milliseconds.

*Paced*: events at a rate, evenly. An event's latency counts from the moment when it was due, not from when it was
sent: if this process or the broker stalls, the events behind the stall have waited too (coordinated omission). Prints
`{"latencies_ms": [...], "late_ms_p99": ...}`.

*At the limit*: so many events are under way all the time; for each command that comes the next event goes. Prints
`{"events_per_second": ...}`, of the commands between 10 and 90 % of all.
"""

import argparse
import asyncio
import gc
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.bare import BATCH_BYTES, loop_factory
from bench.counting import Sample, rate_of
from bench.watching import open_watched, watch
from bench.workload import EVENTS, PARTITIONS, lanes

_ARRIVAL_SECONDS_MAX = 30.0
_LEAD_SECONDS = 0.5
_LATE_QUANTILE = 0.99
_BATCH_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Settings:
    """Which events go where, and how fast: either `count` and `in_flight`, or the other three."""

    bootstrap: str
    events: str
    commands: str
    count: int
    """Each event moves a saga of its own."""
    in_flight: int
    rate: int
    seconds: int
    warm_seconds: int
    """At the beginning; these events are sent but not counted."""


class Load(ABC):
    """Events on their way."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings = settings
        self._lanes = lanes(count)
        self._count = sum(map(len, self._lanes))
        self._all_arrived = asyncio.Event()

    async def run(self) -> dict[str, object]:
        """Send everything; returns the figures. Raises TimeoutError if commands are missing."""
        bootstrap, topic = self._settings.bootstrap, self._settings.events
        async with (
            AIOKafkaProducer(
                bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES, max_request_size=BATCH_BYTES
            ) as producer,
            asyncio.TaskGroup() as group,
        ):
            watchers = [
                group.create_task(watch(await open_watched(bootstrap, self._settings.commands, partition), self._note))
                for partition in range(PARTITIONS)
            ]
            await producer.partitions_for(topic)
            self._begin()
            await asyncio.gather(*(self._send(producer, partition) for partition in range(PARTITIONS)))
            async with asyncio.timeout(_ARRIVAL_SECONDS_MAX):
                await self._all_arrived.wait()
            for watcher in watchers:
                watcher.cancel()
        return self._read_off()

    async def _send(self, producer: AIOKafkaProducer, partition: int) -> None:
        lane, sent = self._lanes[partition], 0
        while sent < len(lane):
            end = min(await self._wait_for_more(partition, sent), sent + _BATCH_RECORDS, len(lane))
            batch = producer.create_batch()
            for key in lane[sent:end]:
                batch.append(timestamp=None, key=key, value=EVENTS[0])
            sent = end
            await (await producer.send_batch(batch, self._settings.events, partition=partition))

    @abstractmethod
    def _begin(self) -> None:
        """Everything is connected."""

    @abstractmethod
    async def _wait_for_more(self, partition: int, sent: int) -> int:
        """How many of a partition's events may be on their way now; waits until these are more than `sent`."""

    @abstractmethod
    async def _note(self, partition: int, records: Sequence[Any]) -> None:
        """Commands that have arrived."""

    @abstractmethod
    def _read_off(self) -> dict[str, object]:
        """The figures."""


class PacedLoad(Load):
    """Events at an even rate, to the partitions in turn."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.rate * (settings.seconds + settings.warm_seconds))
        self._begun_at = 0.0
        self._number = {key: n * PARTITIONS + p for p, lane in enumerate(self._lanes) for n, key in enumerate(lane)}
        self._latencies: dict[int, float] = {}
        self._late: list[float] = []

    def _begin(self) -> None:
        self._begun_at = time.monotonic() + _LEAD_SECONDS

    async def _wait_for_more(self, partition: int, sent: int) -> int:
        rate = self._settings.rate
        due = self._begun_at + (sent * PARTITIONS + partition) / rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
        late = time.monotonic() - due
        self._late.append(late)
        return sent + count_due(late, rate)

    async def _note(self, _: int, records: Sequence[Any]) -> None:
        since = time.monotonic() - self._begun_at
        for record in records:
            number = self._number[record.key]
            self._latencies.setdefault(number, since - number / self._settings.rate)
        if len(self._latencies) == self._count:
            self._all_arrived.set()

    def _read_off(self) -> dict[str, object]:
        warm, late = self._settings.rate * self._settings.warm_seconds, sorted(self._late)
        return {
            "latencies_ms": [round(taken * 1000, 2) for number, taken in self._latencies.items() if number >= warm],
            "late_ms_p99": round(late[int(_LATE_QUANTILE * len(late))] * 1000, 2),
        }


def count_due(late_seconds: float, rate: int) -> int:
    """How many events of a partition are due when the first of them has been for so long; it is one of them."""
    return 1 + int(max(late_seconds, 0) * rate / PARTITIONS)


class LimitLoad(Load):
    """As many events as the program takes."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.count)
        self._may_send = [settings.in_flight // PARTITIONS] * PARTITIONS
        self._has_more = [asyncio.Event() for _ in range(PARTITIONS)]
        self._arrived = 0
        self._samples: list[Sample] = []

    def _begin(self) -> None:
        pass

    async def _wait_for_more(self, partition: int, sent: int) -> int:
        while self._may_send[partition] <= sent:
            self._has_more[partition].clear()
            await self._has_more[partition].wait()
        return self._may_send[partition]

    async def _note(self, partition: int, records: Sequence[Any]) -> None:
        self._may_send[partition] += len(records)
        self._has_more[partition].set()
        self._arrived += len(records)
        self._samples.append(Sample(time.monotonic(), self._arrived))
        if self._arrived == self._count:
            self._all_arrived.set()

    def _read_off(self) -> dict[str, object]:
        return {"events_per_second": rate_of(self._samples)}


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.load")
    for name in ("bootstrap", "events", "commands"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("count", "in-flight", "rate", "seconds", "warm-seconds"):
        parser.add_argument(f"--{name}", type=int, default=0)
    return Settings(**vars(parser.parse_args(arguments)))


async def _run(settings: Settings) -> dict[str, object]:
    return await (LimitLoad(settings) if settings.in_flight else PacedLoad(settings)).run()


if __name__ == "__main__":
    gc.disable()  # it lives for half a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(_run(parse()))))
