"""Hypothesis strategies: machines, payloads, inputs and records, the sensible and the hostile.

Names come from small pools, so that events repeat, states loop and sagas meet each other. Times are drawn without
order: producers' clocks disagree.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from flowmachine.core.definition import (
    BusinessEvent,
    BusinessState,
    Machine,
    Payload,
    PayloadCheck,
    SagaId,
    State,
    StateId,
    Transition,
)
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Create, EventReceived, Input, Resumed
from flowmachine.core.merge import merge_deep, merge_shallow
from flowmachine.wire.intake import CREATE_HEADERS
from flowmachine.wire.log import StoredRecord
from tests.support.builders import EVENTS, INTAKE, NOW_MS, SAGA_ID, command, numbered

T = TypeVar("T")

heavy = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
"""For tests that draw whole machines: fewer examples, and a busy computer may take its time."""

STATE_POOL = tuple(f"s{number}" for number in range(8))
EVENT_POOL = tuple(f"e{number}" for number in range(4))
SAGA_POOL = ("a", "saga-ü")
FIELD_POOL = ("a", "b", "c", "bad")


def weighted(*strategies: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of these, as often as its weight says (`one_of` drops repetitions)."""
    drawn = [strategy for weight, strategy in strategies for _ in range(weight)]
    return st.sampled_from(drawn).flatmap(lambda strategy: strategy)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
"""Anything that UTF-8 can say."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELD_POOL) | texts, inner, max_size=3),
    max_leaves=8,
)
payloads: st.SearchStrategy[Payload] = st.dictionaries(
    weighted((3, st.sampled_from(FIELD_POOL)), (1, texts)), json_values, max_size=4
)
times_ms = st.integers(NOW_MS - 5_000, NOW_MS + 5_000) | st.sampled_from([-1, 0, 2**62])
merges = st.sampled_from([merge_shallow, merge_deep])
event_labels = st.sampled_from(EVENT_POOL)
labels = event_labels | st.just("__created__") | texts
# What a state of a generated machine may have. The first of each is the simplest: failures shrink towards it.
_COMMANDS = (None, *(command(label, channel) for label in ("do", "undo") for channel in ("log", "rest", "twofold")))
_SIDE_COMMANDS = (
    (),
    (command("tell"),),
    (command("tell", "rest"),),
    (command("tell", "twofold"), command("notify", "rest")),
)
_BUSINESS_STATES = (BusinessState(1, "One"), BusinessState(-2, ""), BusinessState('"3" ü', "]}"))
_BUSINESS_EVENTS = (None, BusinessEvent(0, "Zero"), BusinessEvent("four", "\\ \n 🎉"))


def refuse_bad(payload: Payload) -> str | None:
    """A payload check that does not like the field `bad`."""
    return "payload at $: the field 'bad' is not allowed" if "bad" in payload else None


_CHECKS: tuple[PayloadCheck | None, ...] = (None, None, refuse_bad)


def _pick(number: int, *options: Sequence[Any]) -> list[Any]:
    """One of each of `options`, as the digits of a number: a draw costs more than anything else here."""
    picked = []
    for each in options:
        number, index = divmod(number, len(each))
        picked.append(each[index])
    return picked


@st.composite
def states(draw: st.DrawFn, state_id: str, targets: Sequence[str]) -> State:
    """A state with random transitions to `targets`."""
    transitions = {}
    for event in EVENT_POOL:
        number = draw(st.integers(0, 2 * len(targets) * 9 - 1))
        is_listed, target, named, check = _pick(number, (False, True), targets, _BUSINESS_EVENTS, _CHECKS)
        if is_listed:
            transitions[event] = Transition(event, StateId(target), named, check)
    number = draw(st.integers(0, 2 * 7 * 4 * 3 - 1))
    is_final, main, side, business_state = _pick(number, (False, True), _COMMANDS, _SIDE_COMMANDS, _BUSINESS_STATES)
    return State(StateId(state_id), "generated", is_final, business_state, main, side, transitions)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """A machine of two to eight states: loops, dead ends, unreachable states, and final ones that go on, all alike."""
    ids = STATE_POOL[: draw(st.integers(2, len(STATE_POOL)))]
    return Machine(
        name="generated",
        revision="r1",
        initial_state=StateId(draw(st.sampled_from(ids))),
        creation_event="__created__",
        states={StateId(each): draw(states(each, ids)) for each in ids},
        merge=draw(merges),
    )


_saga_id = st.just(SagaId(SAGA_ID))
_entry_ids = st.builds("{}{}".format, st.integers(1, 3), st.sampled_from(["", ".0", ".1"]))
inputs: st.SearchStrategy[Input] = weighted(
    (8, st.builds(EventReceived, _saga_id, event_labels, payloads, times_ms)),
    (1, st.builds(EventReceived, _saga_id, labels, payloads, times_ms)),
    (1, st.builds(Create, _saga_id, texts, payloads, times_ms)),
    (2, st.builds(CommandDelivered, _saga_id, _entry_ids, times_ms)),
    (1, st.builds(CommandFailed, _saga_id, _entry_ids, texts, times_ms)),
    (2, st.builds(Resumed, _saga_id, times_ms)),
)
"""Anything that may happen to one saga; most of it events that some state lists."""


junk_values: st.SearchStrategy[bytes | None] = (
    st.none()
    | st.binary(max_size=12)
    | json_values.map(msgspec.json.encode)
    | st.sampled_from(
        [b"{", b"\xef\xbb\xbf{}", b"\xff\xfe", b"[" * 500, b'{"messageLabel":1}', b'{"messageLabel":"\\ud800"}']
    )
)


event_values: st.SearchStrategy[bytes] = st.builds(
    lambda label, payload, extra: msgspec.json.encode({**extra, "messageLabel": label, **payload}),
    weighted((5, event_labels), (1, labels)),
    st.just({}) | st.just({"messagePayload": None}) | payloads.map(lambda payload: {"messagePayload": payload}),
    st.just({}) | st.dictionaries(texts, scalars, max_size=1),
)
"""Values that are messages, as different clients write them."""

creation_values: st.SearchStrategy[bytes] = payloads.map(
    lambda metadata: msgspec.json.encode({"associatedEntityId": "entity", "metadata": metadata})
)
"""Values that create sagas."""

_topics = st.sampled_from([EVENTS, INTAKE])
_keys = st.sampled_from([saga_id.encode() for saga_id in SAGA_POOL])
_none, _creates = st.just(0), st.just(CREATE_HEADERS)
_event_record = st.builds(StoredRecord, _topics, st.sampled_from([0, 3]), _none, times_ms, _keys, event_values)
_creation_record = st.builds(StoredRecord, st.just(INTAKE), _none, _none, times_ms, _keys, creation_values, _creates)
_junk_record = st.builds(
    StoredRecord,
    _topics,
    _none,
    _none,
    times_ms,
    _keys | st.none() | st.binary(max_size=4),
    junk_values | event_values,
    st.just(()) | _creates,
)
_any_record = weighted((7, _event_record), (1, _creation_record), (1, _junk_record))


@st.composite
def record_lists(draw: st.DrawFn, *, max_size: int = 12) -> list[StoredRecord]:
    """What arrives at a home partition, in order, with its offsets: creations, events by both ways, and junk."""
    created = draw(st.lists(_creation_record, min_size=draw(st.integers(0, 2)), max_size=2))
    size_min = draw(st.sampled_from([0, max_size * 2 // 3]))  # without it most lists are short
    return numbered(created + draw(st.lists(_any_record, min_size=size_min, max_size=max_size)))


@st.composite
def splits(draw: st.DrawFn, whole: list[StoredRecord]) -> list[list[StoredRecord]]:
    """The same records in batches of any size; some are empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
