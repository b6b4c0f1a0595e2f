"""Handover: what sagas notice while engines join, leave, are replaced and die.

Two partitions, steady load on both, and idle sagas that a new owner has to read before it goes on. One after the other:

    steady    one engine with both partitions: nothing happens, for reference
    join      a second engine starts: one partition moves to it
    stand_by  a third starts, and is stopped again: two rebalances, in which nothing moves
    stop      the second is asked to stop (SIGTERM): its partition moves back
    join      once more
    replace   the second is asked to stop, and once it is gone another starts, as in a rolling update
    kill      the second is killed (kill -9), and another starts at once on an address of its own, as a new pod
    restart   the second is killed, and starts at once on the same address, as a container that restarts in its pod

A gap is the time from when a saga's event is due until its command is seen.
"""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from bench.broker import COMPACTED, append, create_topics
from bench.errors import RoundFailedError
from bench.figures import Figure, median_of
from bench.lab import Lab
from bench.latency import quantile
from bench.processes import run_load
from bench.programs import engine_topics, start_engine
from bench.restore import RESTORED
from bench.sizes import Sizes
from bench.workload import CREATED, Names, idle_sagas, lanes
from dev.addresses import LOOPBACK, find_free_ports
from dev.engine_process import EngineProcess

PARTITIONS = 2
STEPS = ("steady", "join", "stand_by", "stop", "join", "replace", "kill", "restart")
_LEAD_SECONDS = 4.0
"""The load starts within this time and its first second; what it sends then does not count."""
_STEADY_SECONDS = 8.0
_SETTLE_SECONDS = 2.0
"""After a step, until the next: its last effects are counted as its own."""
_MARGIN_SECONDS = 0.5
"""What is due so shortly before a step belongs to it: it may still wait when the step begins."""
_STEP_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.05
_REQUEST_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class HandoverStep:
    """What the load has seen of one step."""

    step: str
    gap_ms: float
    """The longest gap of all events that were due in this step."""
    p50_ms: float
    p99_ms: float
    pause_ms: float
    """The longest time without a command in a partition. If it moves, from the last commit of the old owner to the
    first of the new one, as a `read_committed` reader sees them; not less than the load's interval."""
    done_seconds: float
    """From the beginning of the step until that pause was over."""
    restores: int
    """How often a partition was restored, on any engine."""
    records: int
    """Records that were read for it."""
    events: int
    sagas: int


@dataclass(frozen=True, slots=True)
class Played:
    """A step, and what the engines' logs say of it."""

    step: str
    began: float
    ended: float
    restores: int
    records: int


class _Play:
    """The engines of one machine, and what is done to them."""

    def __init__(self, first: EngineProcess) -> None:
        self._file = first.file
        self._engines = [first]
        """All that were ever started; the last one that runs is the one that things happen to."""

    async def run(self) -> list[Played]:
        """All steps. Raises RoundFailedError."""
        await asyncio.sleep(_LEAD_SECONDS)
        played: list[Played] = []
        for step in STEPS:
            began, (restores, records) = time.monotonic(), self._restored()
            await getattr(self, f"_{step}")()
            await self._settle()
            now_restores, now_records = self._restored()
            played.append(Played(step, began, time.monotonic(), now_restores - restores, now_records - records))
        return played

    def close(self) -> None:
        """Make sure that no engine is left."""
        for engine in self._engines:
            engine.close()

    async def _steady(self) -> None:
        await asyncio.sleep(_STEADY_SECONDS)

    async def _join(self) -> None:
        await self._start(find_free_ports(1)[0])

    async def _stand_by(self) -> None:
        await self._join()
        await self._settle()
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.to_thread(self._engines[-1].terminate)
        self._engines.insert(0, self._engines.pop())

    async def _replace(self) -> None:
        await self._stop()
        await self._join()

    async def _kill(self) -> None:
        self._engines[-1].kill()
        await self._join()

    async def _restart(self) -> None:
        port = int(self._engines[-1].url.rpartition(":")[2])
        self._engines[-1].kill()
        await self._start(port)

    async def _start(self, port: int) -> None:
        engine = EngineProcess(self._file, "--http", f"{LOOPBACK}:{port}")
        self._engines.append(engine)
        await start_engine(engine)

    async def _settle(self) -> None:
        """Until every partition has an owner that works on it, and a moment longer."""
        deadline = time.monotonic() + _STEP_SECONDS_MAX
        while sorted(await asyncio.to_thread(self._running)) != list(range(PARTITIONS)):
            if time.monotonic() > deadline:
                raise RoundFailedError(f"not all partitions have an owner after {_STEP_SECONDS_MAX:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.sleep(_SETTLE_SECONDS)

    def _running(self) -> list[int]:
        return [number for engine in self._engines if engine.is_running for number in _running_partitions(engine)]

    def _restored(self) -> tuple[int, int]:
        lines = [line for engine in self._engines for line in engine.log_lines() if line.get("message") == RESTORED]
        return len(lines), sum(line["records"] for line in lines)


def _running_partitions(engine: EngineProcess) -> list[int]:
    try:
        with urllib.request.urlopen(f"{engine.url}/-/check-up", timeout=_REQUEST_SECONDS_MAX) as answer:  # noqa: S310 - ours
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:  # not ready: the answer has the same form
        body = json.load(error)
    return [int(number) for number, phase in body["partitions"].items() if phase == "running"]


async def measure_handover(lab: Lab, *, sagas: int, rate: int, rounds: int) -> list[HandoverStep]:
    """The steps of all rounds. `rate`: events per second, over both partitions."""
    results: list[HandoverStep] = []
    for number in range(1, rounds + 1):
        for result in await run_handover_round(lab, sagas=sagas, rate=rate):
            results.append(result)
            lab.say(
                f"handover {number}/{rounds}, {result.step}: longest gap {result.gap_ms:,.0f} ms, "
                f"pause {result.pause_ms:,.0f} ms, {result.records:,} records in {result.restores} restores"
            )
    return results


async def run_handover_round(lab: Lab, *, sagas: int, rate: int) -> list[HandoverStep]:
    """Play all steps under load. Raises RoundFailedError."""
    async with engine_topics(lab, partitions=PARTITIONS) as (names, engine):
        await create_topics(lab.bootstrap, names.sagas, configs=COMPACTED, partitions=PARTITIONS)
        await create_topics(lab.bootstrap, names.intake, names.unmatched, partitions=PARTITIONS)
        await append(lab.bootstrap, names.sagas, [idle_sagas(lane, CREATED) for lane in lanes(sagas, PARTITIONS)])
        await start_engine(engine)
        play = _Play(engine)
        try:
            playing = asyncio.create_task(play.run())
            said = await _run_load(lab, names, sagas, rate, playing)
            played = playing.result()
        finally:
            play.close()
    return [evaluate(one, said["begin"], said["seen"], rate, sagas) for one in played]


async def _run_load(lab: Lab, names: Names, sagas: int, rate: int, until: asyncio.Task[list[Played]]) -> dict[str, Any]:
    arguments = {
        "bootstrap": lab.bootstrap,
        "events": names.events,
        "commands": names.commands,
        "partitions": PARTITIONS,
        "sagas": sagas,
        "rate": rate,
    }
    return await run_load("bench.handover_load", arguments, seconds_max=2 * _STEP_SECONDS_MAX, until=until)


def evaluate(played: Played, begin: float, seen: Sequence[float], rate: int, sagas: int) -> HandoverStep:
    """What the load's answer says of a step. Raises RoundFailedError if no event was due in it."""
    due = [begin + number / rate for number in range(len(seen))]
    gaps = sorted(
        (at - due_at) * 1000
        for at, due_at in zip(seen, due, strict=True)
        if played.began <= due_at + _MARGIN_SECONDS < played.ended
    )
    if not gaps:
        raise RoundFailedError(f"no event was due in the step {played.step}")
    pauses = [
        (after - before, after)
        for partition in range(PARTITIONS)
        for before, after in pairwise(sorted(seen[partition::PARTITIONS]))
        if played.began <= after < played.ended
    ]
    pause, pause_ended = max(pauses)
    return HandoverStep(
        step=played.step,
        gap_ms=gaps[-1],
        p50_ms=quantile(gaps, 0.5),
        p99_ms=quantile(gaps, 0.99),
        pause_ms=pause * 1000,
        done_seconds=pause_ended - played.began,
        restores=played.restores,
        records=played.records,
        events=len(gaps),
        sagas=sagas,
    )


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    sagas, rate = sizes.handover_sagas, sizes.handover_events_per_second
    return build_figures(await measure_handover(lab, sagas=sagas, rate=rate, rounds=sizes.handover_rounds))


def build_figures(steps: Sequence[HandoverStep]) -> list[Figure]:
    """Gaps by what happened meanwhile: the longest of all rounds, the other figures as ever."""
    figures: list[Figure] = []
    for name, text in _HANDOVER.items():
        of = [one for one in steps if one.step == name]
        gap = max(one.gap_ms for one in of)
        figures += [
            Figure(f"handover.{name}_gap", f"{text}, longest gap", gap, "ms", tuple(asdict(one) for one in of)),
            median_of(f"handover.{name}_p50", f"{text}, p50", of, "p50_ms", "ms"),
            median_of(f"handover.{name}_p99", f"{text}, p99", of, "p99_ms", "ms"),
        ]
        if name != "steady":
            figures.append(median_of(f"handover.{name}_records", f"{text}, records read", of, "records", "records"))
        if name == "join":
            figures.append(median_of("handover.join_done", f"{text}, first command", of, "done_seconds", "s"))
        if name == "stop":
            figures.append(median_of("handover.stop_pause", f"{text}, last to first commit", of, "pause_ms", "ms"))
    return figures


_HANDOVER = {
    "steady": "nothing happens",
    "join": "engine joins",
    "stand_by": "stand-by joins, leaves",
    "stop": "engine stops",
    "replace": "engine replaced",
    "kill": "kill -9, other address",
    "restart": "kill -9, same address",
}
