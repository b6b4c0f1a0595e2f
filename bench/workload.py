"""The work that is measured: orders in the example machine, and exactly what the engine writes for them.

Everything has a fixed size, so that the pass-through program can write as much as the engine: ids are UUIDs, an order's
metadata has about 200 bytes once it is paid, and times have 24 characters. `rehearse` asks the engine's own core for
the bytes.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from bench.errors import RoundFailedError
from flowmachine.config.build import build_machine
from flowmachine.config.load import load_document
from flowmachine.core.actions import CHANGING
from flowmachine.core.partitioners import home
from flowmachine.partition.partition import Partition
from flowmachine.partition.settings import PartitionSettings
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import Headers, StoredRecord
from flowmachine.wire.message import encode_message

PARTITIONS = 4
EVENTS = (
    encode_message("paymentExecuted", {"paymentId": "pay-7f3a91c2d4e8", "method": "card"}),
    encode_message("orderPrepared", {"parcel": {"id": "parcel-51b07e", "weightGrams": 1250}}),
    encode_message("orderDelivered", {"signedBy": "E. Mustermann", "place": "front door"}),
)
"""What moves an order from its creation to its end, in this order."""
SAMPLE_ID = str(uuid.UUID(int=0))
CREATED, PAID, PREPARED = 0, 1, 2
"""Indexes in `rehearse`. Orders idle as created, paid or prepared: paid is the middle, prepared the largest."""
_NOW_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Names:
    """The topics and the group of one machine."""

    machine: str

    @property
    def group(self) -> str:
        """Consumer group."""
        return self.machine

    @property
    def events(self) -> str:
        """Topic of events."""
        return f"{self.machine}-events"

    @property
    def commands(self) -> str:
        """Topic of commands."""
        return f"{self.machine}-commands"

    @property
    def intake(self) -> str:
        """The engine's topic of creations."""
        return f"flowmachine.{self.machine}.intake"

    @property
    def sagas(self) -> str:
        """The changelog."""
        return f"flowmachine.{self.machine}.sagas"

    @property
    def unmatched(self) -> str:
        """The engine's topic of inputs that changed nothing."""
        return f"flowmachine.{self.machine}.unmatched"


@dataclass(frozen=True, slots=True)
class Written:
    """What the engine writes for one input."""

    command: bytes | None
    saga: bytes


def unique_names(prefix: str) -> Names:
    """Names that nothing else on the broker uses."""
    return Names(f"{prefix}-{uuid.uuid4().hex[:8]}")


def order_document(names: Names, bootstrap: str) -> dict[str, Any]:
    """The example's machine with these topics."""
    document: dict[str, Any] = yaml.safe_load((files("flowmachine") / "examples" / "orders.yaml").read_text("utf-8"))
    document["metadata"]["name"] = names.machine
    document["spec"]["channels"][0]["kafka"] = {
        "brokers": [bootstrap],
        "inputTopics": [names.events],
        "outputTopics": [names.commands],
        "consumerGroup": names.group,
    }
    return document


def write_machine(
    names: Names,
    bootstrap: str,
    folder: Path,
    *,
    endpoint: Mapping[str, object] | None = None,
    **spec: Mapping[str, object] | None,
) -> Path:
    """The machine's file, with these parts of its spec. With an endpoint, that is where its commands go."""
    file = folder / f"{names.machine}.yaml"
    document = order_document(names, bootstrap)
    if endpoint is not None:
        document["spec"]["channels"].append({"id": "endpoint", "rest": endpoint})
        for state in document["spec"]["machine"]["states"]:
            state.get("outputCommand", {})["channel"] = "endpoint"
    document["spec"] |= {part: value for part, value in spec.items() if value is not None}
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def lanes(count: int, partitions: int = PARTITIONS) -> list[list[bytes]]:
    """Ids of `count` sagas by home partition, the same number in each. The same ids for the same arguments."""
    found: list[list[bytes]] = [[] for _ in range(partitions)]
    wanted = count // partitions
    missing = partitions
    number = 0
    while missing:
        number += 1
        # A UUID's hash spreads well only if its characters vary: multiply by an odd number with many digits.
        key = str(uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128))).encode()
        lane = found[home(key, partitions)]
        if len(lane) < wanted:
            lane.append(key)
            missing -= len(lane) == wanted
    return found


def creation_value(key: bytes) -> bytes:
    """The body of `POST /saga` for an order."""
    order_id = key.decode()
    metadata = {
        "orderId": order_id,
        "customer": {"id": "customer-004711", "email": "erika@example.org"},
        "items": [{"sku": "FM-0042", "quantity": 2, "priceCents": 1999}],
    }
    return encode_creation(Creation(order_id, metadata))


def build_partition(partition: int = 0) -> Partition:
    """A home partition of the example machine, in memory."""
    names = Names("orders")
    machine = build_machine(load_document(order_document(names, "localhost:9092"), "orders.yaml"))
    settings = PartitionSettings(
        partition=partition,
        home_partitions=1,
        intake_topic=names.intake,
        sagas_topic=names.sagas,
        unmatched_topic=names.unmatched,
        command_topics={"services": (names.commands,)},
        retention_finished_ms=3_600_000,
        record_bytes_max=1_000_000,
        aligned_topics=frozenset({names.commands}),
    )
    return Partition(machine, settings)


def rehearse() -> list[Written]:
    """What the engine writes for an order's creation and for each event after it. Raises RoundFailedError."""
    partition = build_partition()
    key = SAMPLE_ID.encode()
    names = Names("orders")
    inputs: Sequence[tuple[str, bytes, Headers]] = [
        (names.intake, creation_value(key), CREATE_HEADERS),
        *((names.events, event, ()) for event in EVENTS),
    ]
    return [_rehearse_input(partition, key, *one) for one in inputs]


def _rehearse_input(partition: Partition, key: bytes, topic: str, value: bytes, headers: Headers) -> Written:
    record = StoredRecord(topic, 0, 0, _NOW_MS, key, value, headers)
    plan = partition.plan([record], [], _NOW_MS)
    if any(outcome not in CHANGING for outcome in plan.outcomes):
        reasons = "; ".join(unmatched.reason for unmatched in plan.unmatched)
        raise RoundFailedError(f"the example machine is no longer the one that the benchmark knows: {reasons}")
    partition.confirm(plan)
    saga = plan.changed[key]
    assert saga is not None
    return Written(next((value for rows in plan.commands.values() for _, value, _ in rows), None), saga)


def idle_sagas(keys: Sequence[bytes], step: int = PAID) -> Iterator[tuple[bytes, bytes]]:
    """Records of the changelog: orders that wait for their next event, each with its own id."""
    template = rehearse()[step].saga
    sample = SAMPLE_ID.encode()
    for key in keys:
        yield key, template.replace(sample, key)
