"""Figures: what was measured, in which unit, what was aimed at, and on which machine.

`build_*` turn rounds into figures. A figure of several rounds is their median, and the rounds are kept beside it.
Ratios are between medians.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from bench.growth import GrowthRound
from bench.handover import HandoverStep
from bench.hooks import HookRound
from bench.http import HttpRound
from bench.journey import DELIVERIES, JourneyRound
from bench.latency import LatencyRound
from bench.loop import PROGRAMS as LOOP_PROGRAMS
from bench.loop import LoopRound
from bench.memory import MemoryRound
from bench.projection import ProjectionRound
from bench.rest import RestRound
from bench.restore import RestoreRound
from bench.stores import StoreRound
from bench.throughput import PROGRAMS, ThroughputRound
from bench.users import UsersRound
from bench.utilization import PERCENTS, UtilizationRound

_ROOT = Path(__file__).resolve().parent.parent
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be. Missing it fails nothing."""

    bound: Literal["at most", "at least"]
    value: float
    first: float | None = None
    """A step on the way, which was asked for first."""

    def is_met(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return self._is_within(value, self.value)

    def is_first_met(self, value: float) -> bool:
        """Whether it has come as far as the first step; without one, whether it is as it should be."""
        return self._is_within(value, self.value if self.first is None else self.first)

    def _is_within(self, value: float, limit: float) -> bool:
        return value <= limit if self.bound == "at most" else value >= limit


TARGETS: dict[str, Target] = {
    "throughput.ratio": Target("at least", 0.75, first=0.5),
    "throughput.ratio_2": Target("at least", 0.75),
    "journey.exactlyOnce_p50": Target("at most", 80),
    "journey.exactlyOnce_p99": Target("at most", 200),
    "journey.atLeastOnce_p50": Target("at most", 30),
    "journey.atLeastOnce_p99": Target("at most", 90),
    "latency.ratio_p50": Target("at most", 1.3),
    "latency.ratio_p99": Target("at most", 1.3),
    "loop.ratio_1": Target("at least", 0.7),
    "loop.ratio_2": Target("at least", 0.7),
    "memory.paid": Target("at most", 1.5 * _KIB),
}
"""By figure. Only what has been decided stands here; a figure without a target is shown all the same."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table, and of the file."""

    name: str
    """`measurement.what`, never changed: files of different versions are compared by it."""
    text: str
    value: float
    unit: str
    rounds: tuple[dict[str, Any], ...] = field(default=())

    @property
    def target(self) -> Target | None:
        """Its target, if there is one."""
        return TARGETS.get(self.name)


def build_throughput(rounds: Sequence[ThroughputRound]) -> list[Figure]:
    """Rates, their ratio, and what a thousand events cost: with one process, and with two."""
    figures: list[Figure] = []
    for processes in sorted({one.processes for one in rounds}):
        # The names of one process are older than the others. The texts are short: the table is to fit a terminal.
        is_one = processes == 1
        suffix, count = ("", "") if is_one else (f"_{processes}", f"{processes} ")
        engine, bare, compressing = (
            [one for one in rounds if one.processes == processes and one.program == program]
            for program in (*PROGRAMS, "compressing")
        )
        engine_text, bare_text = (f"{count}{name}{'' if is_one else 's'}" for name in ("engine", "pass-through"))
        of_engine = _median(f"throughput.engine{suffix}", engine_text, engine, "events_per_second", "events/s")
        of_bare = _median(f"throughput.passthrough{suffix}", bare_text, bare, "events_per_second", "events/s")
        ratio_text = "ratio" if is_one else f"ratio, {count}of each"
        figures += [of_engine, of_bare, _ratio(f"throughput.ratio{suffix}", ratio_text, of_engine, of_bare)]
        text = f"- {bare_text}, compressing"
        other = _median(f"throughput.compressing{suffix}", text, compressing, "events_per_second", "events/s")
        figures += [other, _ratio(f"throughput.ratio_compressing{suffix}", "- ratio to that", of_engine, other)]
        figures += [
            _median(f"throughput.{name}_cpu{suffix}", text, of, attribute, "s")
            for name, text, of, attribute in (
                ("engine", f"CPU per 1,000, {engine_text}", engine, "cpu_seconds_per_1000"),
                ("engine_broker", "- broker meanwhile", engine, "broker_cpu_seconds_per_1000"),
                ("passthrough", f"CPU per 1,000, {bare_text}", bare, "cpu_seconds_per_1000"),
                ("passthrough_broker", "- broker meanwhile", bare, "broker_cpu_seconds_per_1000"),
            )
        ]
    return figures


def build_latency(rounds: Sequence[LatencyRound]) -> list[Figure]:
    """Quantiles and their ratios."""
    engine = [one for one in rounds if one.program == "engine"]
    bare = [one for one in rounds if one.program == "passthrough"]
    figures: list[Figure] = []
    for quantile in ("p50", "p99"):
        of_engine = _median(f"latency.engine_{quantile}", f"engine, {quantile}", engine, f"{quantile}_ms", "ms")
        of_bare = _median(f"latency.passthrough_{quantile}", f"pass-through, {quantile}", bare, f"{quantile}_ms", "ms")
        text = f"ratio, {quantile}"
        figures += [of_engine, of_bare, _ratio(f"latency.ratio_{quantile}", text, of_engine, of_bare)]
    return figures


def build_utilization(rounds: Sequence[UtilizationRound]) -> list[Figure]:
    """The maximum of each program, and its latencies at a share of it."""
    figures: list[Figure] = []
    for program, text in (("engine", "engine"), ("passthrough", "pass-through")):
        of = [one for one in rounds if one.program == program]
        kept = tuple(asdict(one) for one in of)
        figures.append(
            _median(f"utilization.{program}_max", f"{text}, maximum", of, "max_events_per_second", "events/s")
        )
        figures += [
            Figure(
                f"utilization.{program}_{percent}_{quantile}",
                f"{text}, at {percent} %, {quantile}",
                median(getattr(one, f"{quantile}_ms")[number] for one in of),
                "ms",
                kept,
            )
            for number, percent in enumerate(PERCENTS)
            for quantile in ("p50", "p99")
        ]
    return figures


def build_partitions(rounds: Sequence[ThroughputRound]) -> list[Figure]:
    """Rates, their ratio and the cost by the number of partitions that one process has."""
    figures: list[Figure] = []
    for partitions in sorted({one.partitions for one in rounds}):
        engine, bare = (
            [one for one in rounds if one.partitions == partitions and one.program == program] for program in PROGRAMS
        )
        count = "1 partition" if partitions == 1 else f"{partitions} partitions"
        of_engine, of_bare = (
            _median(f"partitions.{name}_{partitions}", f"{text}, {count}", of, "events_per_second", "events/s")
            for name, text, of in (("engine", "engine", engine), ("passthrough", "pass-through", bare))
        )
        figures += [of_engine, of_bare, _ratio(f"partitions.ratio_{partitions}", f"ratio, {count}", of_engine, of_bare)]
        figures += [
            _median(f"partitions.{name}_{partitions}", text, engine, attribute, "s")
            for name, text, attribute in (
                ("engine_cpu", "CPU per 1,000, engine", "cpu_seconds_per_1000"),
                ("engine_broker_cpu", "- broker meanwhile", "broker_cpu_seconds_per_1000"),
            )
        ]
    return figures


def build_rest(rounds: Sequence[RestRound]) -> list[Figure]:
    """Commands over HTTP by how many are under way at a time, and what they cost."""
    figures: list[Figure] = []
    for concurrency in sorted({one.concurrency for one in rounds}):
        of, text = [one for one in rounds if one.concurrency == concurrency], f"{concurrency} at a time"
        figures += [
            _median(f"rest.commands_{concurrency}", f"REST commands, {text}", of, "commands_per_second", "commands/s"),
            _median(f"rest.engine_cpu_{concurrency}", f"CPU per 1,000, {text}", of, "cpu_seconds_per_1000", "s"),
        ]
    return figures


def build_journey(rounds: Sequence[JourneyRound]) -> list[Figure]:
    """Quantiles of whole orders, by the mode of delivery."""
    return [
        _median(
            f"journey.{delivery}_{quantile}",
            f"whole saga, {delivery}, {quantile}",
            [one for one in rounds if one.delivery == delivery],
            f"{quantile}_ms",
            "ms",
        )
        for delivery in DELIVERIES
        for quantile in ("p50", "p99")
    ]


def build_loop(rounds: Sequence[LoopRound]) -> list[Figure]:
    """Orders per second of both programs with one process and with two, their ratio, and how long an order takes."""
    figures: list[Figure] = []
    for processes in (1, 2):
        engine, floor = (
            [one for one in rounds if one.processes == processes and one.program == program]
            for program in LOOP_PROGRAMS
        )
        count = "1 process" if processes == 1 else f"{processes} processes"
        of_engine, of_floor = (
            _median(f"loop.{name}_{processes}", f"{text}, {count}", of, "sagas_per_second", "sagas/s")
            for name, text, of in (("engine", "engine", engine), ("floor", "hand-written", floor))
        )
        figures += [of_engine, of_floor, _ratio(f"loop.ratio_{processes}", f"ratio, {count}", of_engine, of_floor)]
        figures += [
            _median(f"loop.{name}_{processes}_{quantile}", f"{text}, {count}, {quantile}", of, f"{quantile}_ms", "ms")
            for name, text, of in (("engine", "engine", engine), ("floor", "hand-written", floor))
            for quantile in ("p50", "p99")
        ]
    return figures


def build_memory(rounds: Sequence[MemoryRound]) -> list[Figure]:
    """Bytes per idle saga by its state, and its record."""
    figures: list[Figure] = []
    for one in rounds:
        kept = (asdict(one),)
        record = Figure(f"memory.{one.state}_record", f"its record, {one.state}", one.record_bytes, "bytes", kept)
        figures += [
            Figure(f"memory.{one.state}", f"an idle saga, {one.state}", one.bytes_per_saga, "bytes", kept),
            record,
        ]
    return figures


def build_restore(rounds: Sequence[RestoreRound]) -> list[Figure]:
    """The last round is the one with sagas, the first the one without."""
    empty, full = rounds[0], rounds[-1]
    kept = tuple(asdict(one) for one in rounds)
    per_saga = (full.resident_bytes - empty.resident_bytes) / full.sagas
    peak_per_saga = (full.peak_bytes - empty.peak_bytes) / full.sagas
    sagas = f"{full.sagas:,} sagas"
    return [
        Figure("restore.rate", "records restored", full.records_per_second, "records/s", kept),
        Figure("restore.ready", f"start to ready, {sagas}", full.ready_seconds, "s", kept),
        Figure("restore.ready_empty", "start to ready, no sagas", empty.ready_seconds, "s", kept),
        Figure("restore.resident_per_saga", "engine's memory per saga", per_saga, "bytes", kept),
        Figure("restore.peak_per_saga", "its peak, per saga", peak_per_saga, "bytes", kept),
    ]


def build_hooks(rounds: Sequence[HookRound]) -> list[Figure]:
    """What making one payload costs."""
    return [
        Figure(f"hooks.{one.kind}", f"a payload by {one.kind}", one.microseconds_per_call, "us", (asdict(one),))
        for one in rounds
    ]


def build_growth(rounds: Sequence[GrowthRound]) -> list[Figure]:
    """What planning an event costs, by what there is much of."""
    return [
        Figure(
            f"growth.{one.what}_{one.amount}",
            f"an event, {one.amount:,} {one.what.replace('_', ' ')}",
            one.microseconds_per_event,
            "us",
            (asdict(one),),
        )
        for one in rounds
    ]


def build_http(rounds: Sequence[HttpRound]) -> list[Figure]:
    """Creations over HTTP, and how long an answer takes."""
    load = "POST /saga"  # short: the table is to fit a terminal
    return [
        _median("http.rate", load, rounds, "requests_per_second", "sagas/s"),
        _median("http.p50", f"{load}, p50", rounds, "p50_ms", "ms"),
        _median("http.p99", f"{load}, p99", rounds, "p99_ms", "ms"),
    ]


def build_users(rounds: Sequence[UsersRound]) -> list[Figure]:
    """Sagas per second of the users, and how long one takes them."""
    figures: list[Figure] = []
    for one in rounds:
        kept, (pace, _, work_ms) = (asdict(one),), one.variant.partition("_")
        text = f"{pace} users, {work_ms} ms of work"
        figures += [
            Figure(f"users.{one.variant}", text, one.sagas_per_second, "sagas/s", kept),
            Figure(f"users.{one.variant}_p50", f"{text}, p50", one.p50_ms, "ms", kept),
            Figure(f"users.{one.variant}_p99", f"{text}, p99", one.p99_ms, "ms", kept),
            Figure(f"users.{one.variant}_cpu", "CPU per 1,000 sagas, engines", one.cpu_seconds_per_1000, "s", kept),
        ]
    return figures


def build_handover(steps: Sequence[HandoverStep]) -> list[Figure]:
    """Gaps by what happened meanwhile: the longest of all rounds, the other figures as ever."""
    figures: list[Figure] = []
    for name, text in _HANDOVER.items():
        of = [one for one in steps if one.step == name]
        gap = max(one.gap_ms for one in of)
        figures += [
            Figure(f"handover.{name}_gap", f"{text}, longest gap", gap, "ms", tuple(asdict(one) for one in of)),
            _median(f"handover.{name}_p50", f"{text}, p50", of, "p50_ms", "ms"),
            _median(f"handover.{name}_p99", f"{text}, p99", of, "p99_ms", "ms"),
        ]
        if name != "steady":
            figures.append(_median(f"handover.{name}_records", f"{text}, records read", of, "records", "records"))
        if name == "join":
            figures.append(_median("handover.join_done", f"{text}, first command", of, "done_seconds", "s"))
        if name == "stop":
            figures.append(_median("handover.stop_pause", f"{text}, last to first commit", of, "pause_ms", "ms"))
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


def build_projection(one: ProjectionRound) -> list[Figure]:
    """Copies in PostgreSQL, beside the engine and without it."""
    kept = (asdict(one),)
    load = f"at {one.events_per_second:,} events/s"
    return [
        Figure("projection.beside_engine", f"copies, {load}", one.copies_per_second, "sagas/s", kept),
        Figure("projection.behind", "end of the load to last copy", one.behind_seconds, "s", kept),
        Figure("projection.engine_p50", f"engine, {load}, p50", one.p50_ms, "ms", kept),
        Figure("projection.engine_p99", f"engine, {load}, p99", one.p99_ms, "ms", kept),
        Figure("projection.catch_up", "copies, without the engine", one.catch_up_per_second, "sagas/s", kept),
    ]


def build_stores(rounds: Sequence[StoreRound]) -> list[Figure]:
    """What each store takes."""
    return [
        Figure(f"stores.{one.kind}_{what}", f"{one.kind}, {what} sagas", value, "sagas/s", (asdict(one),))
        for one in rounds
        for what, value in (("new", one.new_per_second), ("changed", one.changed_per_second))
    ]


def _median(name: str, text: str, rounds: Sequence[Any], attribute: str, unit: str) -> Figure:
    value = median(getattr(one, attribute) for one in rounds)
    return Figure(name, text, value, unit, tuple(asdict(one) for one in rounds))


def _ratio(name: str, text: str, numerator: Figure, denominator: Figure) -> Figure:
    return Figure(name, text, numerator.value / denominator.value, "ratio")


def gather_facts(kafka_version: str) -> dict[str, Any]:
    """The machine and the versions that a figure belongs to."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _find_line(Path("/proc/cpuinfo"), "model name"),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _KIB**3, 1),
        "system": platform.platform(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "kafka": kafka_version,
        "aiokafka": version("aiokafka"),
        "revision": _find_revision(),
    }


def _find_line(file: Path, name: str) -> str:
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "unknown")


def _find_revision() -> str:
    command = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
