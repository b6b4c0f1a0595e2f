"""How the cost of an event grows: with the number of sagas, the length of a history, the size of metadata or a machine.

Planning and confirming alone, in this process and without a log, because that is where all of it can show: what a batch
of a thousand events costs, each for another saga. Nothing may grow with the number of sagas but memory, and nothing
faster than the bytes that a saga has.
"""

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.errors import RoundFailedError
from bench.figures import Figure
from bench.lab import Say
from bench.sizes import Sizes
from bench.workload import order_document, unique_names
from flowmachine.config.build import build_machine
from flowmachine.config.load import load_document
from flowmachine.core.definition import Machine
from flowmachine.partition.partition import Partition
from flowmachine.partition.settings import PartitionSettings
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import Headers, StoredRecord
from flowmachine.wire.message import encode_message

_BATCH = 1000
_PASSES = 5
_NOW_MS = 1_700_000_000_000
_EVENT = encode_message("next", {"step": "done"})


@dataclass(frozen=True, slots=True)
class Shape:
    """One combination; each measurement changes one of these."""

    live: int = 10_000
    history: int = 3
    metadata_bytes: int = 300
    states: int = 10


@dataclass(frozen=True, slots=True)
class GrowthRound:
    """What one shape says."""

    what: str
    amount: int
    microseconds_per_event: float
    record_bytes: int


def measure_growth(say: Say, shapes: Sequence[tuple[str, Shape]]) -> list[GrowthRound]:
    """One after the other."""
    results: list[GrowthRound] = []
    for what, shape in shapes:
        result = _measure(what, shape)
        results.append(result)
        say(
            f"growth, {what} {result.amount:,}: {result.microseconds_per_event:.1f} us per event, "
            f"records of {result.record_bytes:,} bytes"
        )
    return results


def build_shapes(*, live: Sequence[int]) -> list[tuple[str, Shape]]:
    """All of them; `live` are the numbers of sagas."""
    usual = Shape(live=min(live))
    return [
        *(("live", replace(usual, live=amount)) for amount in live),
        *(("history", replace(usual, history=amount)) for amount in (3, 30, 300)),
        *(("metadata_bytes", replace(usual, metadata_bytes=amount)) for amount in (300, 3_000, 30_000)),
        *(("states", replace(usual, states=amount)) for amount in (10, 200, 1_000)),
    ]


def _measure(what: str, shape: Shape) -> GrowthRound:
    machine = _ring(shape.states)
    record = _sample(machine, shape)
    partition = _partition(machine)
    keys = [b"saga-%d" % number for number in range(shape.live)]
    for key in keys:
        partition.sagas.restore(key, bytes(bytearray(record)))  # each its own bytes, as a restore makes them
    chosen = random.Random(0).sample(keys, _BATCH)
    gc.collect()
    gc.disable()
    try:
        best = min(_time_batch(partition, chosen, shape.history + number * _BATCH) for number in range(_PASSES))
    finally:
        gc.enable()
    return GrowthRound(what, getattr(shape, what), best / _BATCH * 1e6, len(record))


def _time_batch(partition: Partition, keys: Sequence[bytes], first_offset: int) -> float:
    """Seconds for an event to each of these sagas. Raises RoundFailedError if it did not move them all."""
    events = [_record("events", first_offset + number, key, _EVENT) for number, key in enumerate(keys)]
    began = time.process_time()
    plan = partition.plan(events, [], _NOW_MS)
    partition.confirm(plan)
    taken = time.process_time() - began
    if len(plan.changed) != len(keys):
        raise RoundFailedError(f"only {len(plan.changed):,} of {len(keys):,} events have moved their saga")
    return taken


def _ring(states: int) -> Machine:
    document: dict[str, Any] = order_document(unique_names("growth"), "localhost:9092")
    document["spec"]["machine"] = {
        "initialState": "s0",
        "businessStates": [{"id": 1, "description": "on its way"}],
        "states": [
            {
                "id": f"s{number}",
                "isFinal": False,
                "businessStateId": 1,
                "outputCommand": {"channel": "services", "label": f"c{number}"},
                "outgoingTransitions": [{"inputEvent": "next", "targetState": f"s{(number + 1) % states}"}],
            }
            for number in range(states)
        ],
    }
    return build_machine(load_document(document, "growth.yaml"))


def _partition(machine: Machine) -> Partition:
    settings = PartitionSettings(
        partition=0,
        home_partitions=1,
        intake_topic="intake",
        sagas_topic="sagas",
        unmatched_topic="unmatched",
        command_topics={"services": ("commands",)},
        retention_finished_ms=3_600_000,
        record_bytes_max=1_000_000,
        aligned_topics=frozenset({"commands"}),
    )
    return Partition(machine, settings)


def _sample(machine: Machine, shape: Shape) -> bytes:
    """The record of a saga with this history."""
    partition, key = _partition(machine), b"sample"
    creation = encode_creation(Creation("entity", {"text": "x" * shape.metadata_bytes}))
    inputs = [_record("intake", 0, key, creation, CREATE_HEADERS)]
    inputs += [_record("events", number, key, _EVENT) for number in range(shape.history - 1)]
    for one in inputs:
        partition.confirm(partition.plan([one], [], _NOW_MS))
    record = partition.sagas.get(key)
    assert record is not None
    return record


def _record(topic: str, offset: int, key: bytes, value: bytes, headers: Headers = ()) -> StoredRecord:
    return StoredRecord(topic, 0, offset, _NOW_MS, key, value, headers)


async def run(sizes: Sizes, say: Say) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(measure_growth(say, build_shapes(live=sizes.growth_live)))


def build_figures(rounds: Sequence[GrowthRound]) -> list[Figure]:
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
