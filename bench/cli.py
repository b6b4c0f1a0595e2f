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
from collections.abc import Sequence
from pathlib import Path

from aiokafka.errors import KafkaError
from rich.console import Console

from bench.errors import RoundFailedError
from bench.facts import gather_facts
from bench.lab import Lab, Say
from bench.measurements import ALONE, MEASUREMENTS, ON_BROKER
from bench.report import Report
from bench.sizes import FULL, QUICK, Sizes
from bench.throughput import warm_up
from dev.engine_process import EngineDiedError
from dev.errors import DevError
from dev.kafka import ClusterSettings, KafkaCluster
from dev.kafka.provision import provision
from flowmachine.errors import FlowMachineError

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
    parser.add_argument("--quick", action="store_true", help="small amounts, in four minutes: does it all work?")
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
    on_broker = [name for name in names if name in ON_BROKER]
    if on_broker:
        with tempfile.TemporaryDirectory(prefix="flowmachine-bench-") as folder:
            say("starting a broker")
            started = time.monotonic()
            with KafkaCluster(ClusterSettings(heap_mib=_BROKER_HEAP_MIB), report=say) as cluster:
                pid = cluster.pid_of(cluster.node_ids[0])
                assert pid is not None
                lab = Lab(
                    bootstrap=cluster.bootstrap, broker_pid=pid, broker_started=started, folder=Path(folder), say=say
                )
                asyncio.run(_measure_on_broker(on_broker, sizes, report, lab))
    asyncio.run(_measure_alone([name for name in names if name in ALONE], sizes, report, say))


async def _measure_on_broker(names: Sequence[str], sizes: Sizes, report: Report, lab: Lab) -> None:
    if names != ["restore"]:
        await warm_up(lab, sagas=sizes.warm_up_sagas, seconds=sizes.broker_warm_seconds)
    for name in names:
        report.add(await ON_BROKER[name](sizes, lab))


async def _measure_alone(names: Sequence[str], sizes: Sizes, report: Report, say: Say) -> None:
    for name in names:
        report.add(await ALONE[name](sizes, say))
