"""Laws of decide() for every generated machine, saga and input."""

import copy

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.actions import CHANGING, Decision, Outcome
from flowmachine.core.decide import decide
from flowmachine.core.definition import Machine, SendCommand, StateId
from flowmachine.core.inputs import EventReceived, Input, Resumed
from flowmachine.core.saga import Saga, history_labels
from flowmachine.wire.record import decode_saga, encode_saga
from tests.support.builders import create, event, history_of, resumed, saga_after, sent_by, without_state
from tests.support.strategies import event_labels, heavy, inputs, machines, payloads

ENTERING = {Outcome.CREATED, Outcome.ADVANCED}


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[Machine, Input]]:
    """What happens to one saga: inputs, each with the machine of its time (a state is deleted and comes back)."""
    whole = draw(machines())
    fewer = without_state(whole, draw(st.sampled_from(sorted(set(whole.states) - {whole.initial_state}))))
    times = st.sampled_from([whole] * 5 + [fewer])
    story: list[tuple[Machine, Input]] = [(whole, create(draw(payloads)))] if draw(st.integers(0, 9)) else []
    size_min = draw(st.sampled_from([0, 8]))  # without it most stories are short
    return story + draw(st.lists(st.tuples(times, inputs), min_size=size_min, max_size=12))


def lengths(saga: Saga | None) -> tuple[int, int]:
    history = {"states": [], "events": []} if saga is None else history_of(saga)
    return len(history["states"]), len(history["events"])


@heavy
@given(stories())
def test_decide_is_total_and_pure_and_keeps_its_books(story: list[tuple[Machine, Input]]) -> None:
    saga: Saga | None = None
    for whole, received in story:
        saga_before, received_before = copy.deepcopy(saga), copy.deepcopy(received)
        decision = decide(whole, saga, received)
        assert decide(whole, saga, received) == decision
        assert (saga, received) == (saga_before, received_before)
        assert_follows(whole, saga, received, decision)
        saga = decision.saga


def assert_follows(whole: Machine, saga: Saga | None, received: Input, decision: Decision) -> None:
    after = decision.saga
    is_changed = decision.outcome in CHANGING
    is_entering = decision.outcome in ENTERING
    is_freed = type(received) is Resumed and saga is not None and after is not saga and not is_changed
    assert is_changed or decision.reason
    assert is_changed or is_freed or after is saga
    assert (after is None) == (decision.outcome is Outcome.UNKNOWN_SAGA)
    if after is None:
        assert decision.commands == ()
        return
    assert after.seq == (saga.seq if saga else 0) + (is_changed or is_freed)
    states, events = lengths(saga)
    assert lengths(after) == (states + is_entering, events + is_entering)
    assert history_labels(after.history)[-1] == after.latest_event
    assert [each["state"] for each in history_of(after)["states"]][-1] == after.current_state
    assert after.updated_at >= (saga.updated_at if saga else after.created_at)
    assert after.created_at == (saga.created_at if saga else after.created_at)
    assert len({entry.id for entry in after.outbox}) == len(after.outbox)
    assert_sends(whole, saga, after, decision, is_entering=is_entering)


def assert_sends(whole: Machine, saga: Saga | None, after: Saga, decision: Decision, *, is_entering: bool) -> None:
    """Entering a state sends all its commands with the merged metadata, each in one way; nothing else sends any."""
    if not is_entering:
        assert decision.commands == ()
        assert saga is not None
        assert (after.current_state, after.metadata) == (saga.current_state, saga.metadata)
        return
    entered = whole.states[StateId(after.current_state)]
    commands = [each for each in (entered.command, *entered.side_commands) if each is not None]
    assert sent_by(decision) == tuple(
        SendCommand(each.channel, each.label, after.metadata) for each in commands if not each.is_outbox
    )
    added = after.outbox[len(saga.outbox) if saga else 0 :]
    assert [(each.channel, each.label, each.payload) for each in added] == [
        (each.channel, each.label, after.metadata) for each in commands if each.is_outbox
    ]
    assert (after.is_final, after.revision) == (entered.is_final, whole.revision)


@heavy
@given(stories())
def test_replaying_the_inputs_of_a_saga_gives_the_same_bytes(story: list[tuple[Machine, Input]]) -> None:
    """Also when every step reads from the log what the step before wrote."""
    in_memory: Saga | None = None
    stored: bytes | None = None
    for whole, received in story:
        in_memory = decide(whole, in_memory, received).saga
        read = decide(whole, decode_saga(stored) if stored else None, received).saga
        stored = encode_saga(read) if read else None
        assert stored == (encode_saga(in_memory) if in_memory else None)


@heavy
@given(machines(), st.data())
def test_events_that_were_held_do_what_they_would_have_done_at_once(whole: Machine, data: st.DataObject) -> None:
    saga = saga_after(whole)
    for label in data.draw(st.lists(event_labels, max_size=3)):
        saga = taken(whole, saga, event(label))
    fewer = without_state(whole, saga.current_state)
    events = data.draw(st.lists(st.builds(event, event_labels, payloads), max_size=5))
    at_once = delayed = saga
    sent: list[list[SendCommand]] = [[], []]
    for received in events:
        sent[0] += sent_by(decide(whole, at_once, received))
        at_once = taken(whole, at_once, received)
        delayed = taken(fewer, delayed, received)
    assert [each.label for each in delayed.held] == [each.label for each in events]
    for _ in events:
        sent[1] += sent_by(decide(whole, delayed, resumed()))
        delayed = taken(whole, delayed, resumed())
    assert sent[0] == sent[1]
    assert comparable(delayed) == comparable(at_once)
    assert delayed.seq == saga.seq + 2 * len(events)  # held, then taken


def taken(whole: Machine, saga: Saga, received: EventReceived | Resumed) -> Saga:
    after = decide(whole, saga, received).saga
    assert after is not None
    return after


def comparable(saga: Saga) -> Saga:
    """Without what depends on the number of changes."""
    outbox = tuple(msgspec.structs.replace(entry, id="") for entry in saga.outbox)
    return msgspec.structs.replace(saga, seq=0, outbox=outbox)
