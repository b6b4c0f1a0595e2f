"""What must be true when all is quiet again: the product's own audit, and what it cannot know.

| guarantee | looked at                                                                                              |
|-----------|--------------------------------------------------------------------------------------------------------|
| G1        | every acknowledged saga is in one final state, and never left it; every input is behind an offset       |
| G2        | each command once, without transactions once for each id; those over HTTP taken at least once           |
| G3        | each record of a saga continues the history of the one before; commands in order                        |
| G4        | each bad input is kept once, with its reason                                                            |
| memory    | what the owners remember is what the log holds                                                          |
| audit     | `flowmachine audit` finds nothing, and verifies every saga                                              |
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from flowmachine.audit.judge import judge
from flowmachine.audit.model import TopicPartition
from flowmachine.cli.audit.gather import MachineTopics, gather
from flowmachine.cli.audit.spill import Spill
from flowmachine.core.partitioners import home
from flowmachine.core.saga import Saga
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import InputRecord
from flowmachine.wire.message import COMMAND_ID_HEADER, decode_message
from flowmachine.wire.record import decode_saga
from tests.simulation.broker import Broker
from tests.simulation.services import Services
from tests.simulation.world import COMMAND_TOPICS, COMMANDS, EVENTS, NAMES, RETENTION_MS, World

PATHS = {
    "delivered": ["executePayment", "packOrder", "deliverOrder"],
    "failed": ["executePayment"],
}
"""Final state -> the commands that the log holds of such a saga."""


class BrokerReader:
    """The audit's way into the simulated broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def partition_counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        return {topic: len(self._broker.partitions[topic]) for topic in topics}

    async def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: self._broker.committed[place] for place in partitions if place in self._broker.committed}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self._broker.partitions[topic][partition].stable_end

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[InputRecord], None]:
        records, _ = self._broker.read((topic, partition), start, end)
        if records:
            yield records


def changelog(broker: Broker) -> dict[str, list[Saga]]:
    """Every committed record of every saga; the simulated topic is not compacted."""
    sagas: dict[str, list[Saga]] = defaultdict(list)
    for record in broker.read_all(NAMES.sagas):
        if is_control(record.key):
            continue
        assert record.key is not None
        assert record.value is not None, "a saga has left before its time"
        sagas[record.key.decode()].append(decode_saga(record.value))
    return sagas


def why_not_settled(world: World, services: Services) -> str:
    """What is still to come; empty when all that had to happen has happened."""
    broker = world.broker
    if services.pending:
        return f"{services.pending} answers are on their way"
    if any(latest.state in ("open", "committed") for latest in broker.transactions.values()):
        return "a transaction is open"
    if NAMES.sagas not in broker.partitions:
        return "no engine has made its topics"
    return _unread(broker) or _unfinished(broker, services) or _not_owned(world)


def _unread(broker: Broker) -> str:
    for topic in (EVENTS, NAMES.intake):
        for number, data in enumerate(broker.partitions[topic]):
            committed = broker.committed.get((topic, number), 0)
            if any(record is not None for record, _ in data.entries[committed:]):
                return f"{topic}/{number} is committed to {committed} of {data.end}"
    return ""


def _unfinished(broker: Broker, services: Services) -> str:
    if len(services.acknowledged) < services.asked:
        return f"{services.asked - len(services.acknowledged)} creations are not acknowledged"
    sagas = changelog(broker)
    for saga_id in services.acknowledged:
        if saga_id not in sagas:
            return f"saga {saga_id} does not exist"
        if not sagas[saga_id][-1].is_final or sagas[saga_id][-1].outbox:
            return f"saga {saga_id} is in state {sagas[saga_id][-1].current_state}"
    return ""


def _not_owned(world: World) -> str:
    owned: list[int] = []
    for host in world.hosts:
        assert host.engine is not None
        status = host.engine.status()
        if not status.is_ready:
            return f"{host.address} is not ready: {status.problems}"
        owned += status.phases
    wanted = list(range(world.broker.home_partitions))
    return "" if sorted(owned) == wanted else f"partitions that have an owner: {sorted(owned)}"


async def find_faults(world: World, services: Services) -> list[str]:
    """Everything that is not as it must be."""
    sagas = changelog(world.broker)
    found = [*world.failures, *_judge_memory(world)]  # memory first: nothing may run in between
    if set(sagas) != set(services.acknowledged):
        found.append(
            f"sagas {sorted(set(sagas) ^ set(services.acknowledged))} were created, or not, against the answer"
        )
    for saga_id, records in sagas.items():
        found += [f"saga {saga_id}: {problem}" for problem in _judge_records(records)]
    found += _judge_commands(world.broker, sagas)
    found += _judge_deliveries(sagas, services)
    found += _judge_junk(world.broker, services)
    found += await _audit(world)
    return found


def _judge_records(records: Sequence[Saga]) -> list[str]:
    problems: list[str] = []
    finals = {each.current_state for each in records if each.is_final}
    if len(finals) != 1:
        problems.append(f"its final states are {sorted(finals)}")
    for before, after in pairwise(records):
        if after.seq <= before.seq:
            problems.append(f"record {after.seq} follows record {before.seq}")
        if not bytes(after.history.events).startswith(bytes(before.history.events)[:-1]):
            problems.append(f"record {after.seq} does not continue the history of record {before.seq}")
    return problems


def _judge_commands(broker: Broker, sagas: Mapping[str, Sequence[Saga]]) -> list[str]:
    sent: dict[str, list[str]] = defaultdict(list)
    had: dict[bytes, bytes | None] = {}
    problems: list[str] = []
    for record in broker.read_all(COMMANDS):
        assert record.key is not None
        command_id = dict(record.headers).get(COMMAND_ID_HEADER)
        if command_id is not None and command_id in had:
            if had[command_id] != record.value:
                problems.append(f"two commands have the id {command_id!r}")
            continue
        if command_id is not None:
            had[command_id] = record.value
        sent[record.key.decode()].append(decode_message(record.value).message_label)
    return problems + [
        f"saga {saga_id} is {records[-1].current_state} and sent {sent.get(saga_id)}"
        for saga_id, records in sagas.items()
        if sent.get(saga_id) != PATHS.get(records[-1].current_state)
    ]


def _judge_deliveries(sagas: Mapping[str, Sequence[Saga]], services: Services) -> list[str]:
    wanted = {f"{saga_id}:1.1" for saga_id in sagas}
    for saga_id, records in sagas.items():
        wanted |= {f"{saga_id}:{each.id}" for record in records for each in record.outbox}
        if records[-1].current_state == "delivered" and not any(
            each.label == "prepareOrder" for record in records for each in record.outbox
        ):
            wanted.add(f"{saga_id}:prepareOrder, which never was in its outbox")
    return [f"command {key} over HTTP was never taken" for key in sorted(wanted - set(services.delivered))]


def _judge_junk(broker: Broker, services: Services) -> list[str]:
    kept = Counter(
        (record.value, dict(record.headers)["flowmachine-outcome"].decode())
        for record in broker.read_all(NAMES.unmatched)
    )
    found: list[str] = []
    for value, outcomes in services.junk.items():
        entries = {entry: number for entry, number in kept.items() if entry[0] == value}
        if [number for entry, number in entries.items() if entry[1] in outcomes] != [1] or len(entries) != 1:
            found.append(f"bad input {value[:60]!r} ({outcomes}) is kept as {list(entries.items())}"[:300])
        for entry in entries:
            del kept[entry]
    return [*found, *(f"{value!r} is among the unmatched inputs as {outcome}" for value, outcome in kept)]


def _judge_memory(world: World) -> list[str]:
    records = [record for record in world.broker.read_all(NAMES.sagas) if not is_control(record.key)]
    latest = {record.key: record.value for record in records}
    found: list[str] = []
    for host in world.hosts:
        assert host.engine is not None
        for number in range(world.broker.home_partitions):
            task = host.engine.task(number)
            if task is None:
                continue
            here = {
                key: value for key, value in latest.items() if home(key or b"", world.broker.home_partitions) == number
            }
            if {key: task.partition.sagas.get(key) for key in task.partition.sagas} != here:
                found.append(f"{host.address} does not remember partition {number} as the log has it")
    return found


async def _audit(world: World) -> list[str]:
    topics = MachineTopics(
        NAMES.intake, NAMES.sagas, NAMES.unmatched, NAMES.inputs, COMMAND_TOPICS, RETENTION_MS, may_share_inputs=False
    )
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder, Spill(Path(folder)) as spill:
        reader = BrokerReader(world.broker)
        now_ms = world.loop.wall_ms()
        scope = await gather(reader, world.machine, topics, spill, now_ms=now_ms, advance=lambda *_: None)
        for saga in spill.groups():
            verdict = judge(scope, saga)
            found += [
                f"audit: {each.kind.value} {each.saga_id} {each.where}: {each.message}" for each in verdict.findings
            ]
            if verdict.unverified is not None:
                found.append(
                    f"audit: {verdict.saga_id} is not verifiable ({verdict.unverified.value}): {verdict.detail}"
                )
    return found
