"""`python -m bench [--quick] [--only NAME,...] [--out DIR]`: options, and the order of it all.

Exit codes: 0 everything was measured, however slow it was; 1 a round failed, with a sentence on standard error; 130
Ctrl-C. What was measured before a failure is shown and in the file.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiokafka.errors import KafkaError
from rich.console import Console

from bench.errors import RoundFailedError
from bench.figures import (
    Figure,
    build_growth,
    build_handover,
    build_hooks,
    build_http,
    build_journey,
    build_latency,
    build_loop,
    build_memory,
    build_partitions,
    build_projection,
    build_rest,
    build_restore,
    build_stores,
    build_throughput,
    build_users,
    build_utilization,
    gather_facts,
)
from bench.growth import build_shapes, measure_growth
from bench.handover import measure_handover
from bench.hooks import measure_hooks
from bench.http import measure_http
from bench.journey import measure_journey
from bench.lab import Lab
from bench.latency import Pace, measure_latency
from bench.loop import measure_loop
from bench.memory import measure_memory
from bench.projection import measure_projection
from bench.report import Report
from bench.rest import measure_rest
from bench.restore import measure_restore
from bench.sizes import FULL, QUICK, Sizes
from bench.stores import measure_stores
from bench.throughput import PROGRAMS, Amounts, measure_throughput, warm_up
from bench.users import measure_users
from bench.utilization import measure_utilization
from dev.engine_process import EngineDiedError
from dev.errors import DevError
from dev.kafka import ClusterSettings, KafkaCluster
from dev.kafka.provision import provision
from flowmachine.errors import FlowMachineError

MEASUREMENTS = (
    *("throughput", "partitions", "latency", "utilization", "journey", "loop", "http", "rest"),
    *("users", "handover"),
    *("memory", "restore", "hooks", "growth", "projection", "stores"),
)
_NEED_NO_BROKER = {"memory", "hooks", "growth", "stores"}
_NEED_BROKER = set(MEASUREMENTS) - _NEED_NO_BROKER
_NEED_WARM_BROKER = _NEED_BROKER - {"restore"}
_BROKER_HEAP_MIB = 1024
_INTERRUPTED = 130
_FAILURES = (
    RoundFailedError,
    DevError,
    EngineDiedError,
    FlowMachineError,
    KafkaError,
    TimeoutError,
    subprocess.TimeoutExpired,
)
Say = Callable[[str], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and return the exit code."""
    options = _parse(arguments)
    console = Console()
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {line}", highlight=False)

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it warns about normal retries on new topics
    report: Report | None = None
    code = 0
    try:
        report = Report(options.out, console, gather_facts(provision(say).version), is_quick=options.quick)
        with console.status("measuring"):
            _measure(options.only, QUICK if options.quick else FULL, report, say)
    except _FAILURES as error:
        sys.stderr.write(f"bench: {str(error) or repr(error)}\n")
        code = 1
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted; the processes of this run were ended.\n")
        code = _INTERRUPTED
    if report is not None:
        report.show()
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures FlowMachine on a real broker of this machine."
    )
    parser.add_argument("--quick", action="store_true", help="small amounts, under two minutes: does it all work?")
    parser.add_argument(
        "--only",
        type=_parse_names,
        default=MEASUREMENTS,
        metavar="NAME,...",
        help=f"some of {', '.join(MEASUREMENTS)} (all)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("bench-results"), metavar="DIR", help="folder of the results (./%(default)s)"
    )
    return parser.parse_args(arguments)


def _parse_names(text: str) -> tuple[str, ...]:
    names = {name.strip() for name in text.split(",")}
    unknown = names.difference(MEASUREMENTS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is not one of {', '.join(MEASUREMENTS)}")
    return tuple(name for name in MEASUREMENTS if name in names)


def _measure(names: Sequence[str], sizes: Sizes, report: Report, say: Say) -> None:
    if not _NEED_BROKER.intersection(names):
        asyncio.run(_measure_all(names, sizes, report, say, None))
        return
    with tempfile.TemporaryDirectory(prefix="flowmachine-bench-") as folder:
        say("starting a broker")
        started = time.monotonic()
        with KafkaCluster(ClusterSettings(heap_mib=_BROKER_HEAP_MIB), report=say) as cluster:
            pid = cluster.pid_of(cluster.node_ids[0])
            assert pid is not None
            lab = Lab(bootstrap=cluster.bootstrap, broker_pid=pid, broker_started=started, folder=Path(folder), say=say)
            asyncio.run(_measure_all(names, sizes, report, say, lab))


async def _measure_all(names: Sequence[str], sizes: Sizes, report: Report, say: Say, lab: Lab | None) -> None:
    if lab is not None and _NEED_WARM_BROKER.intersection(names):
        await warm_up(lab, sagas=sizes.warm_up_sagas, seconds=sizes.broker_warm_seconds)
    for name in names:
        report.add(await _MEASURE[name](sizes, say, lab))


async def _throughput(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    amounts = [Amounts(sizes.throughput_sagas, processes) for processes in (1, 2)]
    return build_throughput(await measure_throughput(lab, amounts, (*PROGRAMS, "compressing"), rounds=sizes.rounds))


async def _partitions(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    amounts = [Amounts(sizes.partition_sagas, partitions=count) for count in sizes.partition_counts]
    return build_partitions(await measure_throughput(lab, amounts, rounds=sizes.rounds))


async def _latency(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    pace = _pace(sizes, sizes.latency_events_per_second)
    return build_latency(await measure_latency(lab, pace, rounds=sizes.rounds))


async def _utilization(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    return build_utilization(
        await measure_utilization(
            lab,
            events=sizes.utilization_events,
            seconds=sizes.utilization_seconds,
            warm_seconds=sizes.utilization_warm_seconds,
            rounds=sizes.rounds,
        )
    )


async def _journey(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    pace = _pace(sizes, sizes.journey_sagas_per_second)
    return build_journey(await measure_journey(lab, pace, rounds=sizes.rounds))


def _pace(sizes: Sizes, events_per_second: int) -> Pace:
    seconds, warm_seconds = sizes.latency_seconds, sizes.latency_warm_seconds
    return Pace(events_per_second=events_per_second, seconds=seconds, warm_seconds=warm_seconds)


async def _loop(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    orders, in_flight = sizes.loop_orders, sizes.loop_in_flight
    return build_loop(await measure_loop(lab, orders=orders, in_flight=in_flight, rounds=sizes.rounds))


async def _http(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    seconds, warm_seconds = sizes.latency_seconds, sizes.latency_warm_seconds
    return build_http(await measure_http(lab, seconds=seconds, warm_seconds=warm_seconds, rounds=sizes.rounds))


async def _rest(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    return build_rest(await measure_rest(lab, commands=sizes.rest_commands, rounds=sizes.rounds))


async def _users(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    return build_users(await measure_users(lab, seconds=sizes.latency_seconds, warm_seconds=sizes.latency_warm_seconds))


async def _handover(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    sagas, rate = sizes.handover_sagas, sizes.handover_events_per_second
    return build_handover(await measure_handover(lab, sagas=sagas, rate=rate, rounds=sizes.handover_rounds))


async def _memory(sizes: Sizes, say: Say, _: Lab | None) -> list[Figure]:
    return build_memory(await measure_memory(say, sagas=sizes.memory_sagas))


async def _restore(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    return build_restore(await measure_restore(lab, sagas=sizes.restore_sagas))


async def _hooks(sizes: Sizes, say: Say, _: Lab | None) -> list[Figure]:
    return build_hooks(measure_hooks(say, calls=sizes.hook_calls))


async def _growth(sizes: Sizes, say: Say, _: Lab | None) -> list[Figure]:
    return build_growth(measure_growth(say, build_shapes(live=sizes.growth_live)))


async def _projection(sizes: Sizes, _: Say, lab: Lab | None) -> list[Figure]:
    assert lab is not None
    rate, seconds = sizes.projection_events_per_second, sizes.projection_seconds
    return build_projection(await measure_projection(lab, rate=rate, seconds=seconds))


async def _stores(sizes: Sizes, say: Say, _: Lab | None) -> list[Figure]:
    return build_stores(await measure_stores(say, sagas=sizes.store_sagas))


_MEASURE: dict[str, Callable[[Sizes, Say, Lab | None], Awaitable[list[Figure]]]] = {
    "throughput": _throughput,
    "partitions": _partitions,
    "latency": _latency,
    "utilization": _utilization,
    "journey": _journey,
    "loop": _loop,
    "http": _http,
    "rest": _rest,
    "users": _users,
    "handover": _handover,
    "memory": _memory,
    "restore": _restore,
    "hooks": _hooks,
    "growth": _growth,
    "projection": _projection,
    "stores": _stores,
}
