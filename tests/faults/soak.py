"""`make soak`: a million sagas while everything fails in turn, for hours if need be; then the audit.

Three brokers, several engines, participants; one fault after the other, in an order drawn from a seed: an engine is
killed, stopped in order, replaced by one with the other `delivery`, or paused for longer than its session and its
transaction; a broker is killed or paused; partitions are added; and the load is ten times as high in every other spell.
What the tests of this folder do briefly, one by one.
"""

import argparse
import asyncio
import logging
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewPartitions
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dev.engine_process import EngineProcess
from dev.kafka import ClusterSettings, KafkaCluster
from flowmachine.wire.journal import is_control
from flowmachine.wire.record import decode_head
from tests.faults.test_zombie import PAUSE_SECONDS
from tests.support.engines import assert_audit_is_clean, engines
from tests.support.kafka import Record, admin_client
from tests.support.orders import (
    DELIVERIES,
    Orders,
    change_settings,
    create_sagas,
    prepare_orders,
    running_participants,
)

ENGINES = 3
EVENT_PARTITIONS, EVENT_PARTITIONS_MAX = 4, 12
CHUNK = 1000
IN_FLIGHT_MAX = 20_000
"""Sagas that wait at once; more would only make the participants' memory grow."""
CREATION_SECONDS_MIN = 150.0
"""Creating all of them takes at least as long as it takes each kind of fault to come once."""
SPIKE_SECONDS = 30.0
FAULT_PAUSE_SECONDS = (1.0, 6.0)
BROKER_AWAY_SECONDS = 8.0
SETTINGS: Mapping[str, Any] = {"retention": {"finished": "7d"}}
"""No saga is forgotten, so that the audit can verify each one."""
LINE_SECONDS = 30.0
"""How often progress is told where there is no terminal."""
STUCK_SECONDS_MAX = 300.0
"""No saga finishes for so long: then something is stuck, and the run has failed."""


class Soak:
    """One run."""

    def __init__(self, orders: Orders, cluster: KafkaCluster, made: list[EngineProcess], sagas: int, seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.finished: set[bytes] = set()
        self.created = 0
        self.engine_bytes_max = 0
        """The most memory that an engine has had."""
        self._orders = orders
        self._cluster = cluster
        self._engines = made
        self._sagas = sagas
        self._random = random.Random(seed)
        self._partitions = EVENT_PARTITIONS

    async def create(self) -> None:
        """Ask for all the sagas: as fast as they finish in every other spell, a tenth of that in between."""
        started = time.monotonic()
        while self.created < self._sagas:
            seconds = time.monotonic() - started
            is_spike = int(seconds / SPIKE_SECONDS) % 2 == 0
            in_flight = self.created - len(self.finished)
            is_early = seconds / CREATION_SECONDS_MIN < self.created / self._sagas
            if is_early or in_flight > (IN_FLIGHT_MAX if is_spike else IN_FLIGHT_MAX // 10):
                await asyncio.sleep(0.1)
                continue
            count = min(CHUNK, self._sagas - self.created)
            await create_sagas(self._orders, count, prefix=f"soak-{self.created:09d}")
            self.created += count

    async def follow(self) -> None:
        """Note what finishes, until all has. Raises TimeoutError when nothing does for long."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._orders.bootstrap.split(","),
            group_id=None,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self._orders.sagas, number) for number in range(EVENT_PARTITIONS)])
            moved_at = time.monotonic()
            while len(self.finished) < self._sagas:
                before = len(self.finished)
                with suppress(KafkaError):  # a broker is away
                    for records in (await consumer.getmany(timeout_ms=500)).values():
                        self.finished.update(record.key for record in records if _is_finished(record))
                now = time.monotonic()
                moved_at = now if len(self.finished) > before else moved_at
                if now - moved_at > STUCK_SECONDS_MAX:
                    raise TimeoutError(
                        f"nothing finished for {STUCK_SECONDS_MAX:.0f} s; {len(self.finished)} had before"
                    )
        finally:
            await consumer.stop()

    async def strike(self) -> None:
        """One fault after the other; each ends before the next begins."""
        kinds = [
            self._kill,
            self._stop,
            self._change_delivery,
            self._pause,
            self._kill_broker,
            self._pause_broker,
            self._add_partition,
        ]
        while True:
            self._random.shuffle(kinds)  # each kind in every round: a short run has them all
            for kind in kinds:
                await asyncio.sleep(self._random.uniform(*FAULT_PAUSE_SECONDS))
                dead = [number for number, engine in enumerate(self._engines) if not engine.is_running]
                assert not dead, f"engines {dead} have ended by themselves"
                await kind()
                self.faults[kind.__name__.strip("_").replace("_", " ")] += 1

    def measure(self) -> None:
        """Note how much memory engines have."""
        for engine in self._engines:
            with suppress(OSError, IndexError):  # it has just been killed
                self.engine_bytes_max = max(self.engine_bytes_max, engine.resident_bytes())

    async def _change_delivery(self) -> None:
        """The next engine has the other mode; the others follow when a fault of theirs starts them anew."""
        change_settings(self._orders, {**SETTINGS, **DELIVERIES[self._random.choice(list(DELIVERIES))]})
        await self._stop()

    async def _kill(self) -> None:
        engine = self._random.choice(self._engines)
        engine.kill()
        await asyncio.to_thread(engine.start, is_ready=False)

    async def _stop(self) -> None:
        engine = self._random.choice(self._engines)
        await asyncio.to_thread(engine.terminate, 60.0)
        await asyncio.to_thread(engine.start, is_ready=False)

    async def _pause(self) -> None:
        engine = self._random.choice(self._engines)
        engine.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_SECONDS)
        finally:
            engine.signal(signal.SIGCONT)

    async def _kill_broker(self) -> None:
        broker = self._random.choice((1, 2, 3))
        await asyncio.to_thread(self._cluster.kill, broker)
        await asyncio.sleep(BROKER_AWAY_SECONDS)
        await asyncio.to_thread(self._cluster.start_broker, broker)

    async def _pause_broker(self) -> None:
        """A network that has become silent: connections stay open, nothing is answered."""
        broker = self._random.choice((1, 2, 3))
        await asyncio.to_thread(self._cluster.pause, broker)
        try:
            await asyncio.sleep(BROKER_AWAY_SECONDS)
        finally:
            await asyncio.to_thread(self._cluster.resume, broker)

    async def _add_partition(self) -> None:
        if self._partitions < EVENT_PARTITIONS_MAX:
            async with admin_client(self._orders.bootstrap) as admin:
                await admin.create_partitions({self._orders.events: NewPartitions(self._partitions + 1)})
            self._partitions += 1


async def show(soak: Soak, sagas: int, console: Console) -> None:
    """Tell how far it is: by a bar, or line by line where there is no terminal."""
    started = time.monotonic()
    while not console.is_terminal:
        for _ in range(int(LINE_SECONDS)):
            soak.measure()
            await asyncio.sleep(1.0)
        done, seconds = len(soak.finished), time.monotonic() - started
        console.print(
            f"{seconds:.0f} s: {done} of {sagas} sagas, {soak.faults.total()} faults, {_memory(soak)}", soft_wrap=True
        )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("sagas", total=sagas)
        while True:
            soak.measure()
            faults = soak.faults.total()
            progress.update(bar, completed=len(soak.finished), description=f"sagas, {faults} faults so far")
            await asyncio.sleep(1.0)


def _is_finished(record: Record) -> bool:
    """Whether it is the record of a finished saga; engines without transactions write records of their own, too."""
    return record.value is not None and not is_control(record.key) and decode_head(record.value).is_final


def _memory(soak: Soak) -> str:
    return f"engines of up to {soak.engine_bytes_max / 1e6:.0f} MB"


async def run(sagas: int, seed: int, console: Console) -> None:
    """The whole run. Raises AssertionError or TimeoutError with what is wrong."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, KafkaCluster(ClusterSettings(brokers=3)) as cluster:
        orders = await prepare_orders(
            cluster.bootstrap,
            Path(folder),
            event_partitions=EVENT_PARTITIONS,
            channel={"brokers": cluster.bootstrap.split(",")},
            **SETTINGS,
        )
        with engines(orders.file, ENGINES) as made:
            for engine in made:
                await asyncio.to_thread(engine.start)
            soak = Soak(orders, cluster, made, sagas, seed)
            async with running_participants(orders, metadata_max_age_ms=5000), asyncio.TaskGroup() as group:
                endless = [group.create_task(soak.strike()), group.create_task(show(soak, sagas, console))]
                group.create_task(soak.create())
                await soak.follow()
                for task in endless:
                    task.cancel()
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(soak.faults.items()))
        console.print(f"{sagas} sagas finished, {_memory(soak)}; {faults}; the audit reads it all", soft_wrap=True)
        started = time.monotonic()
        report = await assert_audit_is_clean(orders.file, sagas)
        seconds = time.monotonic() - started
        console.print(f"audit, {seconds:.0f} s: {report['verified']} sagas verified, {report['commands']} commands")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--sagas", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (%(default)s)")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that a broker is away is no news here
    asyncio.run(run(options.sagas, options.seed, Console()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
