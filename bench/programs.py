"""The two programs under test, each on topics of its own."""

import asyncio
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from bench.broker import append, create_topics, delete_topics, follow
from bench.errors import RoundFailedError
from bench.lab import Lab
from bench.processes import BenchProcess, Program
from bench.workload import PARTITIONS, Names, Written, creation_value, unique_names, write_machine
from dev.engine_process import EngineDiedError, EngineProcess
from flowmachine.wire.intake import CREATE_HEADERS

CREATE_SECONDS_MAX = 300.0
_METRIC = 'flowmachine_inputs_total{outcome="advanced"} '
_METRICS_SECONDS_MAX = 10.0


@asynccontextmanager
async def engine_topics(lab: Lab, **spec: Mapping[str, object] | None) -> AsyncGenerator[tuple[Names, EngineProcess]]:
    """An engine that has not started, with these parts of its spec, and its topics; both are gone afterwards."""
    names = unique_names("bench")
    await create_topics(lab.bootstrap, names.events, names.commands)
    engine = EngineProcess(write_machine(names, lab.bootstrap, lab.folder, **spec))
    try:
        yield names, engine
    finally:
        engine.close()
        await delete_topics(lab.bootstrap, names.events, names.commands, names.intake, names.sagas, names.unmatched)


async def start_engine(engine: EngineProcess, *, is_ready: bool = True) -> None:
    """Start it. Raises RoundFailedError."""
    try:
        await asyncio.to_thread(engine.start, is_ready=is_ready)
    except EngineDiedError as error:
        raise RoundFailedError(str(error)) from error


async def create_sagas(lab: Lab, names: Names, engine: Program, lanes: Sequence[Sequence[bytes]]) -> None:
    """Append the creations of these sagas to the intake, and wait until the engine has committed them."""
    creations = [((key, creation_value(key)) for key in lane) for lane in lanes]
    await append(lab.bootstrap, names.intake, creations, headers=CREATE_HEADERS)
    await follow(
        lab.bootstrap,
        group=names.group,
        topic=names.intake,
        records=sum(map(len, lanes)),
        processes={},
        program=engine,
        timeout_seconds=CREATE_SECONDS_MAX,
    )


def require_advanced(engine: EngineProcess, events: int) -> None:
    """Raise RoundFailedError unless each event has moved a saga: an engine that refuses events would look fast."""
    with urllib.request.urlopen(f"{engine.url}/-/metrics", timeout=_METRICS_SECONDS_MAX) as answer:  # noqa: S310 - ours
        lines = answer.read().decode().splitlines()
    advanced = next((float(line.removeprefix(_METRIC)) for line in lines if line.startswith(_METRIC)), 0.0)
    if advanced != events:
        raise RoundFailedError(f"only {advanced:,.0f} of {events:,} events have moved their saga")


@asynccontextmanager
async def passthrough_topics(
    lab: Lab, written: Sequence[Written], *, records_per_step: int
) -> AsyncGenerator[tuple[Names, BenchProcess]]:
    """A pass-through program that has not started, and its topics; both are gone afterwards.

    It writes records of the sizes in `written`, the next sizes after each `records_per_step` records of a partition.
    """
    names = unique_names("bare")
    await create_topics(lab.bootstrap, names.events, names.commands, names.sagas)
    arguments = {
        "bootstrap": lab.bootstrap,
        "group": names.group,
        "events": names.events,
        "commands": names.commands,
        "sagas": names.sagas,
        "partitions": PARTITIONS,
        "records-per-step": records_per_step,
        "command-bytes": ",".join(str(len(one.command or b"")) for one in written),
        "saga-bytes": ",".join(str(len(one.saga)) for one in written),
    }
    log_path = lab.folder / f"{names.machine}.log"
    process = BenchProcess("bench.passthrough", arguments, log_path)
    try:
        yield names, process
    finally:
        process.close()
        await delete_topics(lab.bootstrap, names.events, names.commands, names.sagas)
