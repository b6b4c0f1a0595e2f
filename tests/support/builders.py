"""Builders of the values that tests talk about: machines, sagas, records, partitions.

Every builder has defaults for all that a test does not care about. Sagas are never written by hand: `saga_after` makes
one by deciding its inputs, so it is always one that could exist.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from flowmachine.core.actions import CHANGING, Decision
from flowmachine.core.decide import decide
from flowmachine.core.definition import (
    BusinessEvent,
    BusinessState,
    ChannelId,
    Command,
    Machine,
    MetadataMerge,
    Payload,
    PayloadCheck,
    SagaId,
    SendCommand,
    State,
    StateId,
    Transition,
)
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Create, EventReceived, Input, Resumed
from flowmachine.core.merge import merge_shallow
from flowmachine.core.partitioners import home
from flowmachine.core.saga import History, Saga
from flowmachine.partition.partition import Partition
from flowmachine.partition.plan import BatchPlan
from flowmachine.partition.settings import PartitionSettings
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import Headers, OutputRecord, StoredRecord, as_output, commands_as_output
from flowmachine.wire.message import encode_message
from flowmachine.wire.record import decode_saga, encode_saga

SAGA_ID = "order-1"
KEY = SAGA_ID.encode()
NOW_MS = 1_760_000_000_000
NOW = "2025-10-09T08:53:20.000Z"
"""`NOW_MS` as text."""

EVENTS, COMMANDS, INTAKE, SAGAS, UNMATCHED = "events", "commands", "shop.intake", "shop.sagas", "shop.unmatched"
COMMAND_TOPICS: Mapping[str, tuple[str, ...]] = {"log": (COMMANDS,), "twofold": ("audit-a", "audit-b")}
"""Channels of the builders' machines; a command to the channel `rest` leaves through the outbox."""

IN_PROGRESS, DONE, FAILED = BusinessState(1, "In progress"), BusinessState(2, "Done"), BusinessState("x", "Failed")


# --- machines ---------------------------------------------------------------------------------------------------------


def command(label: str, channel: str = "log") -> Command:
    """A command; one to the channel `rest` goes to the outbox."""
    return Command(ChannelId(channel), label, is_outbox=channel == "rest")


def transition(
    event: str, target: str, *, business_event: BusinessEvent | None = None, check: PayloadCheck | None = None
) -> Transition:
    """Where an event leads."""
    return Transition(event, StateId(target), business_event, check)


def state(
    state_id: str,
    *transitions: Transition,
    sends: Command | None = None,
    side_commands: Iterable[Command] = (),
    is_final: bool = False,
    business_state: BusinessState = IN_PROGRESS,
) -> State:
    """A state with its transitions."""
    return State(
        id=StateId(state_id),
        description=f"State {state_id}",
        is_final=is_final,
        business_state=business_state,
        command=sends,
        side_commands=tuple(side_commands),
        transitions={each.input_event: each for each in transitions},
    )


def machine(*states: State, merge: MetadataMerge = merge_shallow, revision: str = "r1") -> Machine:
    """A machine that begins in the first of `states`."""
    return Machine(
        name="shop",
        revision=revision,
        initial_state=states[0].id,
        creation_event="__created__",
        states={each.id: each for each in states},
        merge=merge,
    )


def order_machine() -> Machine:
    """The running example: executePayment, prepareOrder, deliverOrder; the error event of each leads to `failed`."""
    return machine(
        state(
            "paying",
            transition("paymentExecuted", "preparing", business_event=BusinessEvent(10, "Paid")),
            transition("paymentFailed", "failed"),
            sends=command("executePayment"),
        ),
        state(
            "preparing",
            transition("orderPrepared", "delivering"),
            transition("orderNotPrepared", "failed"),
            sends=command("prepareOrder"),
        ),
        state(
            "delivering",
            transition("orderDelivered", "delivered", business_event=BusinessEvent("end", "Arrived")),
            transition("orderNotDelivered", "failed"),
            sends=command("deliverOrder"),
        ),
        state("delivered", is_final=True, business_state=DONE),
        state("failed", is_final=True, business_state=FAILED),
    )


def small_machine(*, merge: MetadataMerge = merge_shallow, check: PayloadCheck | None = None) -> Machine:
    """One state that loops on `step` (with `check`) until `stop`; a final state that `again` leaves."""
    return machine(
        state(
            "looping", transition("step", "looping", check=check), transition("stop", "ended"), sends=command("work")
        ),
        state("ended", transition("again", "looping"), is_final=True, business_state=DONE),
        merge=merge,
    )


def rest_machine() -> Machine:
    """As `small_machine`, with a command and a side command over HTTP, and a side command to two topics."""
    return machine(
        state(
            "looping",
            transition("step", "looping"),
            transition("stop", "ended"),
            sends=command("work", "rest"),
            side_commands=[command("tell", "twofold"), command("notify", "rest")],
        ),
        state("ended", is_final=True, business_state=DONE, sends=command("close", "rest")),
    )


def without_state(whole: Machine, state_id: str, *, revision: str = "r2") -> Machine:
    """The machine after somebody has deleted a state and all transitions to it."""
    states = {
        each.id: msgspec.structs.replace(
            each, transitions={event: to for event, to in each.transitions.items() if to.target_state != state_id}
        )
        for each in whole.states.values()
        if each.id != state_id
    }
    return msgspec.structs.replace(whole, states=states, revision=revision)


def refuse_unless(field: str) -> PayloadCheck:
    """A check that wants a field in the payload."""
    return lambda payload: None if field in payload else f"payload at $: {field!r} is required"


# --- inputs and sagas -------------------------------------------------------------------------------------------------


def create(metadata: Payload | None = None, *, saga_id: str = SAGA_ID, at_ms: int = NOW_MS) -> Create:
    """Someone asked for a new saga."""
    return Create(SagaId(saga_id), "entity-1", {} if metadata is None else metadata, at_ms)


def event(label: str, payload: Payload | None = None, *, saga_id: str = SAGA_ID, at_ms: int = NOW_MS) -> EventReceived:
    """A participant reported an event."""
    return EventReceived(SagaId(saga_id), label, {} if payload is None else payload, at_ms)


def resumed(*, saga_id: str = SAGA_ID) -> Resumed:
    """The oldest held event is due."""
    return Resumed(SagaId(saga_id), NOW_MS)


def saga_after(whole: Machine, *labels: str | Input, metadata: Payload | None = None, at_ms: int = NOW_MS) -> Saga:
    """The saga that was created with `metadata` and then took these inputs (a text is an event without payload)."""
    saga = decide(whole, None, create(metadata, at_ms=at_ms)).saga
    for received in labels:
        saga = decide(whole, saga, event(received, at_ms=at_ms) if isinstance(received, str) else received).saga
    assert saga is not None
    return saga


def history_of(saga: Saga) -> dict[str, list[dict[str, Any]]]:
    """A saga's history as people read it."""
    history: dict[str, list[dict[str, Any]]] = as_json(saga.history)
    return history


def as_json(value: History | Saga) -> Any:
    """What a value looks like in the log, decoded."""
    return msgspec.json.decode(msgspec.json.encode(value))


# --- records ----------------------------------------------------------------------------------------------------------


def record(
    value: bytes | None,
    *,
    key: bytes | str | None = KEY,
    topic: str = EVENTS,
    partition: int = 0,
    offset: int = 0,
    at_ms: int = NOW_MS,
    headers: Headers = (),
) -> StoredRecord:
    """A record read from a log."""
    raw = key.encode() if isinstance(key, str) else key
    return StoredRecord(topic, partition, offset, at_ms, raw, value, headers)


def event_record(label: str, payload: Payload | None = None, **where: Any) -> StoredRecord:
    """A record with an event; `where` as for `record`."""
    return record(encode_message(label, {} if payload is None else payload), **where)


def create_record(metadata: Payload | None = None, **where: Any) -> StoredRecord:
    """A record of the intake that creates a saga; `where` as for `record`."""
    value = encode_creation(Creation("entity-1", {} if metadata is None else metadata))
    return record(value, **{"topic": INTAKE, "headers": CREATE_HEADERS, **where})


def numbered(records: Iterable[StoredRecord]) -> list[StoredRecord]:
    """The records with the offsets that a log would give them."""
    next_offsets: dict[tuple[str, int], int] = {}
    stored = []
    for each in records:
        place = (each.topic, each.partition)
        offset = next_offsets.get(place, 0)
        next_offsets[place] = offset + 1
        stored.append(msgspec.structs.replace(each, offset=offset))
    return stored


def key_at_home(partition: int, *, home_partitions: int, stem: str = "saga") -> bytes:
    """A saga id whose home is `partition`."""
    candidates = (f"{stem}-{number}".encode() for number in range(10_000))
    return next(key for key in candidates if home(key, home_partitions) == partition)


# --- partitions -------------------------------------------------------------------------------------------------------


def new_partition(whole: Machine | None = None, **settings: Any) -> Partition:
    """A home partition without sagas; `settings` as in PartitionSettings."""
    defaults: dict[str, Any] = {
        "partition": 0,
        "home_partitions": 1,
        "intake_topic": INTAKE,
        "sagas_topic": SAGAS,
        "unmatched_topic": UNMATCHED,
        "command_topics": COMMAND_TOPICS,
        "retention_finished_ms": 60_000,
        "record_bytes_max": 1_000_000,
    }
    return Partition(whole or order_machine(), PartitionSettings(**(defaults | settings)))


def plan_and_confirm(
    partition: Partition, records: Iterable[StoredRecord] = (), internal: Iterable[Input] = (), now_ms: int = NOW_MS
) -> BatchPlan:
    """A batch whose transaction has been committed."""
    plan = partition.plan(list(records), list(internal), now_ms)
    partition.confirm(plan)
    return plan


def put_saga(partition: Partition, saga: Saga, *, saga_id: str = SAGA_ID) -> None:
    """Restore one saga, as a start does."""
    partition.sagas.restore(saga_id.encode(), encode_saga(saga))


def get_saga(partition: Partition, saga_id: str = SAGA_ID) -> Saga:
    """A saga of a partition."""
    value = partition.sagas.get(saga_id.encode())
    assert value is not None, f"no saga {saga_id}"
    return decode_saga(value)


def recount(partition: Partition) -> dict[str, int]:
    """Sagas by state, counted one by one."""
    counts: dict[str, int] = {}
    for key in partition.sagas:
        name = get_saga(partition, key.decode()).current_state
        counts[name] = counts.get(name, 0) + 1
    return counts


def written_by(plan: BatchPlan, partition: int = 0) -> list[OutputRecord]:
    """All records of a plan, in the order in which they are written."""
    return [*plan.records, *commands_as_output(plan.commands), *as_output(plan.changed, SAGAS, partition)]


def sent_by(decision: Decision) -> tuple[SendCommand, ...]:
    """The commands of a decision, each with what it carries."""
    return tuple(SendCommand(each.channel, each.label, decision.payload_of(each)) for each in decision.commands)


def commands_of(plan: BatchPlan, topics: Iterable[str] = (COMMANDS, "audit-a", "audit-b")) -> list[tuple[str, str]]:
    """The commands of a plan in order, as (topic, label)."""
    wanted = set(topics)
    return [
        (each.topic, msgspec.json.decode(each.value)["messageLabel"])
        for each in commands_as_output(plan.commands)
        if each.topic in wanted and each.value is not None
    ]


def counting_check(calls: list[Payload]) -> Callable[[Payload], str | None]:
    """A check that refuses nothing and remembers what it was asked."""

    def check(payload: Payload) -> str | None:
        calls.append(payload)
        return None

    return check


def delivered(entry_id: str, at_ms: int = NOW_MS) -> CommandDelivered:
    return CommandDelivered(SagaId(SAGA_ID), entry_id, at_ms)


def failed(entry_id: str, reason: str = "503 from the endpoint", at_ms: int = NOW_MS) -> CommandFailed:
    return CommandFailed(SagaId(SAGA_ID), entry_id, reason, at_ms)


def advance(whole: Machine, saga: Saga, received: Input) -> Saga:
    """The saga after an input that must change it."""
    decision = decide(whole, saga, received)
    assert decision.outcome in CHANGING, decision.reason
    assert decision.saga is not None
    return decision.saga
