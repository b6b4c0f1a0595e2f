"""The two programs under test, each on topics of its own."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager

from bench.broker import POLL_SECONDS, append, create_topics, delete_topics, follow
from bench.errors import RoundFailedError
from bench.lab import Lab
from bench.processes import BenchProcess, Program
from bench.workload import PARTITIONS, Names, Written, creation_value, unique_names, write_machine
from dev.engine_process import EngineDiedError, EngineProcess
from flowmachine.wire.intake import CREATE_HEADERS

CREATE_SECONDS_MAX = 300.0
_ADVANCED = 'flowmachine_inputs_total{outcome="advanced"}'
_PHASE = "flowmachine_partition_phase{"
_RUNNING = 'phase="running"}'
_SHARES_SECONDS_MAX = 60.0
_METRICS_SECONDS_MAX = 10.0


@asynccontextmanager
async def engine_topics(
    lab: Lab, *, partitions: int = PARTITIONS, **spec: Mapping[str, object] | None
) -> AsyncGenerator[tuple[Names, EngineProcess]]:
    """An engine that has not started, with these parts of its spec, and its topics; both are gone afterwards."""
    names = unique_names("bench")
    await create_topics(lab.bootstrap, names.events, names.commands, partitions=partitions)
    engine = EngineProcess(write_machine(names, lab.bootstrap, lab.folder, **spec))
    try:
        yield names, engine
    finally:
        engine.close()
        await delete_topics(lab.bootstrap, names.events, names.commands, names.intake, names.sagas, names.unmatched)


@asynccontextmanager
async def start_engines(
    lab: Lab, processes: int, *, partitions: int = PARTITIONS, **spec: Mapping[str, object] | None
) -> AsyncGenerator[tuple[Names, Sequence[EngineProcess]]]:
    """Engines that run, each with its share of the partitions, and their topics. Raises RoundFailedError."""
    async with engine_topics(lab, partitions=partitions, **spec) as (names, first):
        engines = [first, *(EngineProcess(first.file) for _ in range(processes - 1))]
        try:
            for engine in engines:
                await start_engine(engine)
            await asyncio.to_thread(_wait_for_shares, engines, partitions // processes)
            yield names, engines
        finally:
            for engine in engines:
                engine.close()


def _wait_for_shares(engines: Sequence[EngineProcess], share: int) -> None:
    deadline = time.monotonic() + _SHARES_SECONDS_MAX
    while any(sum(read_metric(engine, _PHASE, end=_RUNNING)) < share for engine in engines):
        if time.monotonic() > deadline:
            raise RoundFailedError(f"not every engine has {share} partitions after {_SHARES_SECONDS_MAX:.0f} s")
        time.sleep(POLL_SECONDS)


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
        partitions=len(lanes),
        records=sum(map(len, lanes)),
        programs=[engine],
        broker_pid=lab.broker_pid,
        timeout_seconds=CREATE_SECONDS_MAX,
    )


def require_advanced(engines: Sequence[EngineProcess], events: int) -> None:
    """Raise RoundFailedError unless each event has moved a saga: an engine that refuses events would look fast."""
    advanced = sum(sum(read_metric(engine, _ADVANCED)) for engine in engines)
    if advanced != events:
        raise RoundFailedError(f"only {advanced:,.0f} of {events:,} events have moved their saga")


def read_metric(engine: EngineProcess, start: str, *, end: str = "") -> list[float]:
    """Values of the metric lines whose name and labels begin so, and end so."""
    with urllib.request.urlopen(f"{engine.url}/-/metrics", timeout=_METRICS_SECONDS_MAX) as answer:  # noqa: S310 - ours
        lines = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
    return [float(value) for series, _, value in lines if series.startswith(start) and series.endswith(end)]


@asynccontextmanager
async def start_passthrough(
    lab: Lab,
    written: Sequence[Written],
    *,
    records_per_step: int,
    processes: int = 1,
    partitions: int = PARTITIONS,
    is_compressed: bool = False,
) -> AsyncGenerator[tuple[Names, Sequence[BenchProcess]]]:
    """Pass-through programs that run, each with its share of the partitions, and their topics.

    It writes what stands in `written`, the next ones after each `records_per_step` records of a partition.
    """
    names = unique_names("bare")
    await create_topics(lab.bootstrap, names.events, names.commands, names.sagas, partitions=partitions)
    arguments = {
        "events": names.events,
        "commands": names.commands,
        "sagas": names.sagas,
        "records-per-step": records_per_step,
        "written": json.dumps([((one.command or b"").decode(), one.saga.decode()) for one in written]),
        **({"compressed-topic": names.sagas} if is_compressed else {}),
    }
    try:
        async with start_bare(lab, "bench.passthrough", names, arguments, processes, partitions) as running:
            yield names, running
    finally:
        await delete_topics(lab.bootstrap, names.events, names.commands, names.sagas)


@asynccontextmanager
async def start_bare(
    lab: Lab, module: str, names: Names, arguments: Mapping[str, object], processes: int, partitions: int = PARTITIONS
) -> AsyncGenerator[Sequence[BenchProcess]]:
    """Processes of a bare program that run, each with its share of the partitions."""
    common = {"bootstrap": lab.bootstrap, "group": names.group, **arguments}
    running: list[BenchProcess] = []
    try:
        for number in range(processes):
            share = ",".join(map(str, range(number, partitions, processes)))
            log_path = lab.folder / f"{names.machine}-{number}.log"
            running.append(BenchProcess(module, common | {"partitions": share}, log_path))
            await asyncio.to_thread(running[-1].start)
        yield running
    finally:
        for process in running:
            process.close()
