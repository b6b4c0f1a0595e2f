"""decide(): the whole meaning of a machine, as one pure and total function.

| input            | no saga      | in a state of the machine                        | state unknown | final         |
|------------------|--------------|--------------------------------------------------|---------------|---------------|
| Create           | created      | duplicate                                        | duplicate     | duplicate     |
| EventReceived    | unknown_saga | advanced, invalid_payload, duplicate, unexpected | held          | *, finished   |
| CommandDelivered | unknown_saga | settled, or duplicate when the entry is gone     | as before     | as before     |
| CommandFailed    | unknown_saga | settled, or duplicate when the entry is gone     | as before     | as before     |
| Resumed          | unknown_saga | as the oldest held event; duplicate without one  | duplicate     | as before     |

Rules that are not obvious:
- An event that the current state lists is applied, even if the saga has taken one of that name before (a loop).
- An event that it does not list is a duplicate if the saga has taken it before, else unexpected. Neither breaks a saga.
- A final state that lists transitions still follows them: Flow Manager does, and `isFinal` is a mark, not a lock.
- Times inside one saga never run backwards, whatever the producers' clocks say.
"""

from typing import assert_never

import msgspec

from flowmachine.core.actions import Decision, Outcome, SendCommand
from flowmachine.core.definition import BusinessEvent, Machine, Payload, State, StateId
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Create, EventReceived, Input, Resumed
from flowmachine.core.saga import (
    EMPTY_HISTORY,
    RECORD_VERSION,
    HeldEvent,
    OutboxEntry,
    Saga,
    append_history,
    drop_oldest_held,
    history_labels,
)
from flowmachine.core.timestamps import format_timestamp

HELD_EVENTS_MAX = 100
"""Bound of one saga's held events: a saga that sees more than that in one state is not waiting, something is
looping."""


def decide(machine: Machine, saga: Saga | None, received: Input) -> Decision:
    """What `received` does to `saga` (None: no saga of that id) under `machine`. Never raises for any input."""
    match received:
        case EventReceived():
            return _decide_event(machine, saga, received)
        case Create():
            return _decide_create(machine, saga, received)
        case CommandDelivered() | CommandFailed():
            return _decide_settled(saga, received)
        case Resumed():
            return _decide_resumed(machine, saga, received)
    assert_never(received)


def _decide_event(machine: Machine, saga: Saga | None, received: EventReceived) -> Decision:
    if saga is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=f"no saga {received.saga_id!r}")
    state = machine.states.get(StateId(saga.current_state))
    if state is None:
        return _hold(machine, saga, received)
    transition = state.transitions.get(received.label)
    if transition is None:
        return _decide_unlisted(saga, received.label)
    if transition.check is not None:
        problem = transition.check(received.payload)
        if problem is not None:
            return Decision(Outcome.INVALID_PAYLOAD, saga, reason=problem)
    return _enter(
        machine,
        saga,
        target=machine.states[transition.target_state],
        event=received.label,
        business_event=transition.business_event,
        metadata=machine.merge(saga.metadata, received.payload) if received.payload else saga.metadata,
        at=max(format_timestamp(received.received_at_ms), saga.updated_at),
    )


def _hold(machine: Machine, saga: Saga, received: EventReceived) -> Decision:
    reason = f"state {saga.current_state!r} is not in revision {machine.revision}"
    if len(saga.held) >= HELD_EVENTS_MAX:
        return Decision(Outcome.HELD_TOO_MANY, saga, reason=reason)
    held = (*saga.held, HeldEvent(received.label, received.payload, received.received_at_ms))
    return Decision(Outcome.HELD, msgspec.structs.replace(saga, seq=saga.seq + 1, held=held), reason=reason)


def _decide_resumed(machine: Machine, saga: Saga | None, received: Resumed) -> Decision:
    if saga is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=f"no saga {received.saga_id!r}")
    if not saga.held or StateId(saga.current_state) not in machine.states:
        return Decision(Outcome.DUPLICATE, saga, reason="nothing to resume")
    oldest, *rest = saga.held
    event = EventReceived(received.saga_id, oldest.label, oldest.payload, oldest.received_at_ms)
    freed = msgspec.structs.replace(saga, held=tuple(rest))
    decision = _decide_event(machine, freed, event)
    if decision.saga is not freed:
        return decision
    return msgspec.structs.replace(decision, saga=drop_oldest_held(saga))


def _decide_unlisted(saga: Saga, label: str) -> Decision:
    if label == saga.latest_event or label in history_labels(saga.history):
        return Decision(Outcome.DUPLICATE, saga, reason=f"event {label!r} was applied before")
    if saga.is_final:
        return Decision(Outcome.FINISHED, saga, reason=f"the saga finished in state {saga.current_state!r}")
    return Decision(Outcome.UNEXPECTED, saga, reason=f"state {saga.current_state!r} does not list event {label!r}")


def _decide_create(machine: Machine, saga: Saga | None, received: Create) -> Decision:
    if saga is not None:
        return Decision(Outcome.DUPLICATE, saga, reason=f"saga {received.saga_id!r} exists already")
    at = format_timestamp(received.received_at_ms)
    initial = machine.states[machine.initial_state]
    unborn = Saga(
        v=RECORD_VERSION,
        seq=0,
        revision=machine.revision,
        current_state="",
        latest_event="",
        business_state_id="",
        business_state_description="",
        associated_entity_id=received.associated_entity_id,
        created_at=at,
        updated_at=at,
        metadata=received.metadata,
        history=EMPTY_HISTORY,
    )
    return _enter(
        machine,
        unborn,
        target=initial,
        event=machine.creation_event,
        business_event=None,
        metadata=received.metadata,
        at=at,
    )


def _decide_settled(saga: Saga | None, received: CommandDelivered | CommandFailed) -> Decision:
    if saga is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=f"no saga {received.saga_id!r}")
    entry = next((entry for entry in saga.outbox if entry.id == received.entry_id), None)
    if entry is None:
        return Decision(Outcome.DUPLICATE, saga, reason=f"outbox entry {received.entry_id!r} was settled before")
    if isinstance(received, CommandDelivered) or entry.is_side_command:
        outbox = tuple(other for other in saga.outbox if other is not entry)
    else:
        failed = msgspec.structs.replace(entry, failure=received.reason)
        outbox = tuple(failed if other is entry else other for other in saga.outbox)
    at = max(format_timestamp(received.received_at_ms), saga.updated_at)
    return Decision(Outcome.SETTLED, msgspec.structs.replace(saga, seq=saga.seq + 1, outbox=outbox, updated_at=at))


def _enter(
    machine: Machine,
    saga: Saga,
    *,
    target: State,
    event: str,
    business_event: BusinessEvent | None,
    metadata: Payload,
    at: str,
) -> Decision:
    seq = saga.seq + 1
    outbox = saga.outbox
    sent: list[SendCommand] = []
    commands = target.side_commands if target.command is None else (target.command, *target.side_commands)
    for position, command in enumerate(commands):
        if command.is_outbox:
            is_side_command = command is not target.command
            entry_id = f"{seq}.{position}" if is_side_command else str(seq)
            outbox = (*outbox, OutboxEntry(entry_id, command.channel, command.label, metadata, is_side_command))
        else:
            sent.append(SendCommand(command.channel, command.label, metadata))
    entered = Saga(
        v=RECORD_VERSION,
        seq=seq,
        revision=machine.revision,
        current_state=target.id,
        latest_event=event,
        business_state_id=target.business_state.id,
        business_state_description=target.business_state.description,
        associated_entity_id=saga.associated_entity_id,
        created_at=saga.created_at,
        updated_at=at,
        metadata=metadata,
        history=append_history(saga.history, event=event, business_event=business_event, state=target, at=at),
        is_final=target.is_final,
        outbox=outbox,
        held=saga.held,
        timers=saga.timers,
    )
    return Decision(Outcome.CREATED if seq == 1 else Outcome.ADVANCED, entered, tuple(sent))
