"""What must be true when all is quiet again: the product's own audit, and what it cannot know.

| guarantee | looked at                                                                                              |
|-----------|--------------------------------------------------------------------------------------------------------|
| G1        | every acknowledged saga is in one final state, and never left it; every input is behind an offset;      |
|           | none is forgotten before its time, or before its commands over HTTP are taken, and each is in the end    |
| G2        | each command once, without transactions once for each id; those over HTTP taken at least once           |
| G3        | each record of a saga continues the history of the one before; commands in order                        |
| G4        | each bad input is kept once, with its reason                                                            |
| memory    | what the owners remember is what the log holds                                                          |
| audit     | `flowmachine audit` finds nothing, whichever revision's file it has, and verifies every saga of that     |
|           | revision alone; where a hook has failed, or nothing is left of a saga, it says so                        |
"""

import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import msgspec

from flowmachine.audit.judge import judge
from flowmachine.audit.model import Reason, TopicPartition, Verdict
from flowmachine.cli.audit.gather import MachineTopics, gather
from flowmachine.cli.audit.spill import Spill
from flowmachine.core.partitioners import home
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.wire.journal import is_control
from flowmachine.wire.log import InputRecord
from flowmachine.wire.message import COMMAND_ID_HEADER, decode_message
from flowmachine.wire.record import decode_saga
from tests.simulation.broker import Broker
from tests.simulation.machines import COMMANDS_OF_STATES, HOOKED_COMMANDS_OF_STATES, PACKED, SIDE_COMMAND
from tests.simulation.services import Services
from tests.simulation.world import COMMAND_TOPICS, COMMANDS, EVENTS, NAMES, World

PATHS = {
    "delivered": [["paying", "preparing", packed, "shipping", "delivering", "delivered"] for packed in PACKED],
    "failed": [["paying", "failed"]],
}
"""Final state -> the ways there, without the steps that lead back into a state."""


class _Entered(msgspec.Struct):
    state: str


class BrokerReader:
    """The audit's way into the simulated broker."""

    def __init__(self, broker: Broker, *, is_compacted: bool) -> None:
        """`is_compacted`: as when the broker has kept of each saga the last record, and no tombstone."""
        self._broker = broker
        self._is_compacted = is_compacted

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
        if self._is_compacted and topic == NAMES.sagas:
            latest = {record.key: record.offset for record in records}
            records = [record for record in records if record.value and latest[record.key] == record.offset]
        if records:
            yield records


@dataclass(frozen=True)
class Changelog:
    """Every committed record of every saga; the simulated topic is not compacted."""

    sagas: Mapping[str, Sequence[Saga]]
    forgotten_at_ms: Mapping[str, int]
    """Saga id -> the time of its tombstone."""
    problems: Sequence[str]


def read_changelog(broker: Broker) -> Changelog:
    """What the topic of sagas holds."""
    sagas: dict[str, list[Saga]] = defaultdict(list)
    forgotten: dict[str, int] = {}
    problems: list[str] = []
    for record in broker.read_all(NAMES.sagas):
        if is_control(record.key):
            continue
        assert record.key is not None
        saga_id = record.key.decode()
        if saga_id in forgotten:
            problems.append(f"saga {saga_id} was forgotten, and has another record")
        elif record.value is None:
            forgotten[saga_id] = record.timestamp
        else:
            sagas[saga_id].append(decode_saga(record.value))
    return Changelog(sagas, forgotten, problems)


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


def why_not_forgotten(world: World) -> str:
    """Which saga is still there; empty when none is."""
    changelog = read_changelog(world.broker)
    left = sorted(changelog.sagas.keys() - changelog.forgotten_at_ms)
    return f"sagas {left} are not forgotten" if left else ""


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
    sagas = read_changelog(broker).sagas
    for saga_id in services.acknowledged:
        if saga_id not in sagas:
            return f"saga {saga_id} does not exist"
        latest = sagas[saga_id][-1]
        if not latest.is_final or any(not (services.is_notify_down and each.is_side_command) for each in latest.outbox):
            return f"saga {saga_id} is in state {latest.current_state}"
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
    found = [*world.failures, *_judge_memory(world)]  # memory first: nothing may run in between
    changelog = read_changelog(world.broker)
    sagas = changelog.sagas
    found += [*changelog.problems, *_judge_forgetting(world, changelog)]
    if set(sagas) != set(services.acknowledged):
        found.append(
            f"sagas {sorted(set(sagas) ^ set(services.acknowledged))} were created, or not, against the answer"
        )
    for saga_id, records in sagas.items():
        found += [f"saga {saga_id}: {problem}" for problem in _judge_records(records)]
    found += _judge_commands(world, sagas)
    found += _judge_deliveries(world, sagas, services)
    found += _judge_junk(world.broker, services)
    found += await _audit(world, changelog)
    return found


def _judge_forgetting(world: World, changelog: Changelog) -> list[str]:
    """Only what had finished long ago, by clocks that may have jumped, and had nothing to do."""
    at_least_ms = world.retention_ms - 2 * world.clock_jump_ms_max
    problems: list[str] = []
    for saga_id, at_ms in changelog.forgotten_at_ms.items():
        latest = changelog.sagas[saga_id][-1]
        if not latest.is_final or latest.outbox or at_ms - parse_timestamp(latest.updated_at) < at_least_ms:
            problems.append(f"saga {saga_id} was forgotten before its time: {latest.current_state}, {latest.outbox}")
    return problems


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


def _judge_commands(world: World, sagas: Mapping[str, Sequence[Saga]]) -> list[str]:
    sent: dict[str, list[str]] = defaultdict(list)
    had: dict[bytes, bytes | None] = {}
    problems: list[str] = []
    for record in world.broker.read_all(COMMANDS):
        assert record.key is not None
        command_id = dict(record.headers).get(COMMAND_ID_HEADER)
        if command_id is not None and command_id in had:
            if had[command_id] != record.value:
                problems.append(f"two commands have the id {command_id!r}")
            continue
        if command_id is not None:
            had[command_id] = record.value
        sent[record.key.decode()].append(decode_message(record.value).message_label)
    for saga_id, records in sagas.items():
        states = [each.state for each in msgspec.json.decode(records[-1].history.states, type=list[_Entered])]
        if [state for state, _ in groupby(states)] not in PATHS.get(records[-1].current_state, []):
            problems.append(f"saga {saga_id} went through {states}")
        if not _is_sent(world, states, sent[saga_id]):
            problems.append(f"saga {saga_id} went through {states} and sent {sent[saga_id]}")
    return problems


def _is_sent(world: World, states: Sequence[str], sent: Sequence[str]) -> bool:
    """Whether these are the commands of these states, in their order."""
    by_state = COMMANDS_OF_STATES if world.hooks is None else HOOKED_COMMANDS_OF_STATES
    wanted = [label for state in states for label in by_state.get(state, [])]
    if [label for label in sent if label != SIDE_COMMAND] != wanted:
        return False
    if world.hooks is None:
        return SIDE_COMMAND not in sent
    missing = wanted.count("packOrder") - sent.count(SIDE_COMMAND)
    return missing == 0 or (missing == 1 and world.hooks.has_failed)


def _judge_deliveries(world: World, sagas: Mapping[str, Sequence[Saga]], services: Services) -> list[str]:
    may_be_left_out = world.hooks is not None and world.hooks.has_failed
    wanted = set() if may_be_left_out else {f"{saga_id}:1.1" for saga_id in sagas}
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
        if not _is_held_duplicate(dict(record.headers))
    )
    found: list[str] = []
    for value, outcomes in services.junk.items():
        entries = {entry: number for entry, number in kept.items() if entry[0] == value}
        if [number for entry, number in entries.items() if entry[1] in outcomes] != [1] or len(entries) != 1:
            found.append(f"bad input {value[:60]!r} ({outcomes}) is kept as {list(entries.items())}"[:300])
        for entry in entries:
            del kept[entry]
    return [*found, *(f"{value!r} is among the unmatched inputs as {outcome}" for value, outcome in kept)]


def _is_held_duplicate(headers: Mapping[str, bytes]) -> bool:
    """An event that a saga held, and that it had taken before when it went on: its origin is the saga."""
    is_held = headers["flowmachine-origin"].startswith(f"{NAMES.sagas}/".encode())
    return is_held and headers["flowmachine-outcome"] == b"duplicate"


def _judge_memory(world: World) -> list[str]:
    records = [record for record in world.broker.read_all(NAMES.sagas) if not is_control(record.key)]
    latest = {record.key: record.value for record in records}  # of forgotten sagas None
    found: list[str] = []
    for host in world.hosts:
        assert host.engine is not None
        for number in range(world.broker.home_partitions):
            task = host.engine.task(number)
            if task is None:
                continue
            here = {
                key: value
                for key, value in latest.items()
                if value and home(key or b"", world.broker.home_partitions) == number
            }
            if {key: task.partition.sagas.get(key) for key in task.partition.sagas} != here:
                found.append(f"{host.address} does not remember partition {number} as the log has it")
    return found


async def _audit(world: World, changelog: Changelog) -> list[str]:
    revisions = {saga_id: {record.revision for record in records} for saga_id, records in changelog.sagas.items()}
    found: list[str] = []
    for revision in sorted(set[str]().union(*revisions.values())):
        for verdict in await _verdicts(world, revision):
            found += [
                f"audit of {revision}: {each.kind.value} {each.saga_id} {each.where}: {each.message}"
                for each in verdict.findings
            ]
            excuse = verdict.unverified
            if excuse and not _is_excused(world, changelog, revision, revisions.get(verdict.saga_id, set()), verdict):
                found.append(
                    f"audit of {revision}: {verdict.saga_id} is not verifiable ({excuse.value}): {verdict.detail}"
                )
    return found


async def _verdicts(world: World, revision: str) -> list[Verdict]:
    topics = MachineTopics(
        NAMES.intake,
        NAMES.sagas,
        NAMES.unmatched,
        NAMES.inputs,
        COMMAND_TOPICS,
        world.retention_ms,
        may_share_inputs=False,
    )
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder, Spill(Path(folder)) as spill:
        reader = BrokerReader(world.broker, is_compacted=world.is_compacted)
        now_ms = world.loop.wall_ms()
        machine = world.machines[revision]
        scope = await gather(reader, machine, topics, spill, now_ms=now_ms, advance=lambda *_: None)
        return [judge(scope, saga) for saga in spill.groups()]


def _is_excused(world: World, changelog: Changelog, audited: str, revisions: Collection[str], verdict: Verdict) -> bool:
    """Whether it is right that the audit cannot tell."""
    was_held = any(record.held for record in changelog.sagas.get(verdict.saga_id, ()))
    if verdict.unverified is Reason.REVISION:
        return set(revisions) != {audited} or was_held
    if verdict.unverified is Reason.HOOK:
        return world.hooks is not None and (world.hooks.has_failed or was_held)
    return verdict.unverified is Reason.FORGOTTEN and verdict.saga_id in changelog.forgotten_at_ms
