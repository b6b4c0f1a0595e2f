"""decide(): the whole meaning of a machine, as one pure and total function.

| input            | no saga      | in a state of the machine                        | unknown, hold | final         |
|------------------|--------------|--------------------------------------------------|---------------|---------------|
| Create           | created      | duplicate                                        | duplicate     | duplicate     |
| EventReceived    | unknown_saga | advanced, invalid_payload, duplicate, unexpected | held          | *, finished   |
| CommandDelivered | unknown_saga | settled, or duplicate when the entry is gone     | as before     | as before     |
| CommandFailed    | unknown_saga | settled, or duplicate when the entry is gone     | as before     | as before     |
| Resumed          | unknown_saga | as the oldest held event; duplicate without one  | below         | as before     |
| Loaded           | duplicate    | duplicate                                        | as before     | as before     |

An *awaited* saga (`core/adopt.py`) has no state yet: it holds events, `Create` makes it a new saga, and `Loaded` makes
it the store's (adopted), or ends it (unknown_saga).

Rules that are not obvious:
- An event that the current state lists is applied, even if the saga has taken one of that name before (a loop).
- An event that it does not list is a duplicate if the saga has taken it before, else unexpected. Neither breaks a saga.
- A final state that lists transitions still follows them: Flow Manager does, and `isFinal` is a mark, not a lock.
- A saga is on hold when a hook has failed: its state is entered and everything is recorded, but the state's command is
  not sent (a side command is left out instead); or, when an event's payload could not be merged, the event is held
  and nothing else has happened. Whatever comes then is held behind. Resumed tries again: it sends the command
  (resumed), or goes on with the oldest held event; if the hook fails again the saga stays on hold (held, or duplicate
  when nothing is new). In a state that the machine does not know Resumed changes nothing (duplicate).
- Times inside one saga never run backwards, whatever the producers' clocks say.
"""

from typing import Final, assert_never

import msgspec

from flowmachine.core.actions import Decision, HookFailure, Outcome
from flowmachine.core.adopt import decide_loaded
from flowmachine.core.definition import (
    Command,
    CustomizerBuilder,
    Frame,
    HookError,
    Machine,
    PayloadText,
    SagaId,
    SendCommand,
    State,
    StateId,
    event_frame,
)
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Create, EventReceived, Input, Loaded, Resumed
from flowmachine.core.merge import merge_deep
from flowmachine.core.payload import decode_payload, encode_payload, merge_into
from flowmachine.core.saga import (
    EMPTY_HISTORY,
    RECORD_VERSION,
    HeldEvent,
    Hold,
    OutboxEntry,
    Saga,
    add_revision,
    append_history,
    drop_oldest_held,
    history_labels,
    is_awaited,
)
from flowmachine.core.timestamps import format_timestamp

_ADVANCED: Final = Outcome.ADVANCED
"""An attribute of an enumeration takes a tenth of a microsecond to find."""
HELD_EVENTS_MAX = 100
"""Bound of one saga's held events: a saga that sees more than that in one state is not waiting, something is
looping."""


def decide(machine: Machine, saga: Saga | None, received: Input) -> Decision:
    """What `received` does to `saga` (None: no saga of that id) under `machine`. Never raises for any input."""
    if type(received) is not EventReceived:
        return _decide_other(machine, saga, received)
    if saga is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=f"no saga {received.saga_id!r}")
    state = machine.states.get(saga.current_state)
    if state is None or saga.hold is not None:
        return _hold_event(saga, received, _why_held(machine, saga))
    transition = state.transitions.get(received.label)
    if transition is None:
        return _decide_unlisted(saga, received.label)
    if transition.check is not None and (problem := transition.check(received.payload)) is not None:
        return Decision(Outcome.INVALID_PAYLOAD, saga, reason=problem)
    if machine.customize is None:
        metadata = merge_into(saga.metadata, received.payload, machine.merge)
    else:
        try:
            metadata = _merge_by_hook(machine.customize, saga, received)
        except HookError as error:
            held = msgspec.structs.replace(saga, hold=Hold(str(error), machine.revision))
            failure = HookFailure(None, is_side_command=False, reason=str(error))
            return _hold_event(held, received, str(error), (failure,))
    at = format_timestamp(received.received_at_ms)
    if at < saga.updated_at:
        at = saga.updated_at
    target = machine.states[transition.target_state]
    entered = _enter(machine, saga, target, received.label, transition.frame, metadata, at)
    if target.sends is not None:  # as in most states
        return Decision(_ADVANCED, entered, target.sends)
    return _send(machine, received.saga_id, entered, target, target.commands, Outcome.ADVANCED)


def _decide_other(
    machine: Machine, saga: Saga | None, received: Create | CommandDelivered | CommandFailed | Resumed | Loaded
) -> Decision:
    match received:
        case Create():
            return _decide_create(machine, saga, received)
        case CommandDelivered() | CommandFailed():
            return _decide_settled(saga, received)
        case Resumed():
            return _decide_resumed(machine, saga, received)
        case Loaded():
            return decide_loaded(machine, saga, received)
    assert_never(received)


def can_resume(machine: Machine, saga: Saga) -> bool:
    """Whether a saga is held and may go on: `machine` knows its state, and none of the machine's hooks has failed."""
    if saga.hold is not None and saga.hold.revision == machine.revision:
        return False
    return bool(saga.held or saga.hold) and saga.current_state in machine.states


def _merge_by_hook(build: CustomizerBuilder, saga: Saga, received: EventReceived) -> PayloadText:
    if not received.payload:
        return saga.metadata
    customize = build(received.saga_id, received.received_at_ms)
    return encode_payload(merge_deep(decode_payload(saga.metadata), received.payload, customize))


def _why_held(machine: Machine, saga: Saga) -> str:
    if saga.current_state not in machine.states or saga.hold is None:
        return f"state {saga.current_state!r} is not in revision {machine.revision}"
    return f"the saga is held: {saga.hold.reason}"


def _hold_event(saga: Saga, received: EventReceived, reason: str, failures: tuple[HookFailure, ...] = ()) -> Decision:
    if len(saga.held) >= HELD_EVENTS_MAX:
        return Decision(Outcome.HELD_TOO_MANY, saga, reason=reason)
    held = (*saga.held, HeldEvent(received.label, received.payload, received.received_at_ms))
    kept = msgspec.structs.replace(saga, seq=saga.seq + 1, held=held)
    return Decision(Outcome.HELD, kept, reason=reason, failures=failures)


def _decide_resumed(machine: Machine, saga: Saga | None, received: Resumed) -> Decision:
    if saga is None:
        return Decision(Outcome.UNKNOWN_SAGA, None, reason=f"no saga {received.saga_id!r}")
    state = machine.states.get(saga.current_state)
    if state is not None and saga.hold is not None and saga.hold.command is not None:
        return _send_held_command(machine, saga, state, received)
    if state is None or not saga.held:
        return Decision(Outcome.DUPLICATE, saga, reason="nothing to resume")
    oldest, *rest = saga.held
    event = EventReceived(received.saga_id, oldest.label, oldest.payload, oldest.received_at_ms)
    freed = msgspec.structs.replace(saga, held=tuple(rest), hold=None)
    decision = decide(machine, freed, event)
    if decision.outcome is Outcome.HELD:  # its payload still cannot be merged: it keeps its place before the others
        assert decision.saga is not None
        return _hold_again(saga, decision.saga.hold, decision)
    if decision.saga is not freed:
        return decision
    return msgspec.structs.replace(decision, saga=msgspec.structs.replace(drop_oldest_held(saga), hold=None))


def _send_held_command(machine: Machine, saga: Saga, state: State, received: Resumed) -> Decision:
    """The current state's command as this machine has it; it may also have none any more."""
    earlier = saga.earlier_revisions if saga.revision == machine.revision else add_revision(saga, saga.revision)
    freed = msgspec.structs.replace(
        saga, seq=saga.seq + 1, revision=machine.revision, hold=None, earlier_revisions=earlier
    )
    commands = () if state.command is None else (state.command,)
    decision = _send(machine, received.saga_id, freed, state, commands, Outcome.RESUMED)
    assert decision.saga is not None
    if decision.saga.hold is None:
        return decision
    return _hold_again(saga, decision.saga.hold, decision)


def _hold_again(saga: Saga, hold: Hold | None, decision: Decision) -> Decision:
    if hold == saga.hold:
        return Decision(Outcome.DUPLICATE, saga, reason="held as before", failures=decision.failures)
    kept = msgspec.structs.replace(saga, seq=saga.seq + 1, hold=hold)
    return Decision(Outcome.HELD, kept, reason=decision.reason, failures=decision.failures)


def _decide_unlisted(saga: Saga, label: str) -> Decision:
    if label == saga.latest_event or label in history_labels(saga.history):
        return Decision(Outcome.DUPLICATE, saga, reason=f"event {label!r} was applied before")
    if saga.is_final:
        return Decision(Outcome.FINISHED, saga, reason=f"the saga finished in state {saga.current_state!r}")
    return Decision(Outcome.UNEXPECTED, saga, reason=f"state {saga.current_state!r} does not list event {label!r}")


def _decide_create(machine: Machine, saga: Saga | None, received: Create) -> Decision:
    if saga is not None and not is_awaited(saga):
        return Decision(Outcome.DUPLICATE, saga, reason=f"saga {received.saga_id!r} exists already")
    at = format_timestamp(received.received_at_ms)
    metadata = encode_payload(received.metadata)
    initial = machine.states[machine.initial_state]
    unborn = Saga(
        v=RECORD_VERSION,
        seq=0 if saga is None else saga.seq,
        revision=machine.revision,
        current_state=StateId(""),
        latest_event="",
        business_state_id="",
        business_state_description="",
        associated_entity_id=received.associated_entity_id,
        created_at=at,
        updated_at=at,
        metadata=metadata,
        history=EMPTY_HISTORY,
        held=() if saga is None else saga.held,
        trace=received.trace,
    )
    event = machine.creation_event
    entered = _enter(machine, unborn, initial, event, event_frame(event, None), metadata, at)
    return _send(machine, received.saga_id, entered, initial, initial.commands, Outcome.CREATED)


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
    machine: Machine, saga: Saga, target: State, event: str, frame: Frame, metadata: PayloadText, at: str
) -> Saga:
    revision, business_state = machine.revision, target.business_state
    # By position, in the order of the fields: naming sixteen of them takes five times as long, on every step.
    return Saga(
        RECORD_VERSION,
        saga.seq + 1,
        revision,
        target.id,
        event,
        business_state.id,
        business_state.description,
        saga.associated_entity_id,
        saga.created_at,
        at,
        metadata,
        append_history(saga.history, frame, target.frame, at),
        target.is_final,
        saga.outbox,
        saga.held,
        None,
        saga.earlier_revisions if saga.revision == revision else add_revision(saga, saga.revision),
        saga.timers,
        saga.trace,
    )


def _send(
    machine: Machine, saga_id: SagaId, entered: Saga, state: State, commands: tuple[Command, ...], outcome: Outcome
) -> Decision:
    """Make commands of the state that the saga has entered; one that cannot be made is a failure, not an end."""
    outbox, hold = entered.outbox, None
    sent: list[SendCommand] = []
    failures: list[HookFailure] = []
    for position, command in enumerate(commands):
        is_side_command = command is not state.command
        payload: PayloadText | None = None
        if command.build is not None:
            try:
                payload = encode_payload(command.build(saga_id, entered))
            except HookError as error:
                failures.append(HookFailure(command.label, is_side_command, str(error)))
                if not is_side_command:
                    hold = Hold(str(error), machine.revision, command.label)
                continue
        if command.is_outbox:
            entry_id = f"{entered.seq}.{position}" if is_side_command else str(entered.seq)
            entry = OutboxEntry(
                entry_id,
                command.channel,
                command.label,
                entered.metadata if payload is None else payload,
                is_side_command,
                trace=entered.trace,
            )
            outbox = (*outbox, entry)
        else:
            sent.append(SendCommand(command.channel, command.label, payload))
    if outbox is not entered.outbox or hold is not None:
        entered = msgspec.structs.replace(entered, outbox=outbox, hold=hold)
    return Decision(outcome, entered, tuple(sent), hold.reason if hold is not None else "", tuple(failures))
