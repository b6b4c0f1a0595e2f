"""Advice about whole machines, and the traces that show it."""

from collections.abc import Mapping

import pytest

from flowmachine.core.check import Finding, check_machine, find_traces
from flowmachine.core.decide import decide
from flowmachine.core.definition import BusinessState, ChannelId, Command, Machine, SagaId, State, StateId, Transition
from flowmachine.core.inputs import Create, EventReceived
from flowmachine.core.merge import merge_shallow

STAGE = BusinessState(1, "stage")
COMMAND = Command(ChannelId("services"), "work", is_outbox=False)


def state(name: str, events: Mapping[str, str], *, final: bool = False, command: Command | None = None) -> State:
    transitions = {event: Transition(event, StateId(target), None, None) for event, target in events.items()}
    return State(StateId(name), "", final, STAGE, command, (), transitions)


def machine(*states: State) -> Machine:
    return Machine("m", "r", states[0].id, "__created__", {each.id: each for each in states}, merge_shallow)


END = state("end", {}, final=True)


def codes(*states: State) -> list[tuple[str, str, tuple[str, ...] | None]]:
    return [(finding.path, finding.code, finding.trace) for finding in check_machine(machine(*states))]


def test_a_sound_machine_has_no_findings() -> None:
    assert codes(state("a", {"x": "b"}, command=COMMAND), state("b", {"y": "end"}), END) == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (
            [state("a", {"x": "end"}), END, state("lost", {"y": "end"})],
            [("machine.states[2]", "unreachable-state", None)],
        ),
        ([state("a", {"x": "end", "y": "b"}), END, state("b", {})], [("machine.states[2]", "dead-end", ("y",))]),
        (
            [state("a", {"x": "end", "y": "b"}), END, state("b", {}, command=COMMAND)],
            [("machine.states[2]", "unanswered-command", ("y",))],
        ),
        (
            [state("a", {"x": "end", "y": "b"}), END, state("b", {"z": "c"}), state("c", {"z": "b"})],
            [("machine.states[2]", "no-way-to-final", ("y",)), ("machine.states[3]", "no-way-to-final", ("y", "z"))],
        ),
        (
            [state("a", {"x": "b"}), state("b", {"y": "end"}, final=True), END],
            [("machine.states[1].outgoingTransitions", "final-state-continues", ("x",))],
        ),
        (
            [state("a", {"x": "b"}), state("b", {}, final=True, command=COMMAND)],
            [("machine.states[1].outputCommand", "final-state-command", ("x",))],
        ),
        (
            [state("a", {"x": "end", "again": "a"}, command=COMMAND), END],
            [("machine.states[0].outgoingTransitions[1]", "transition-to-itself", ("again",))],
        ),
        ([state("a", {"x": "b"}), state("b", {"x": "a"})], [("machine.states", "no-final-state", None)]),
        (
            [state("a", {"x": "end"}), END, state("lost", {"y": "lost"})],
            [
                ("machine.states[2]", "unreachable-state", None),
                ("machine.states[2]", "no-way-to-final", None),
                ("machine.states[2].outgoingTransitions[0]", "transition-to-itself", None),
            ],
        ),
    ],
)
def test_what_is_found(states: list[State], expected: list[tuple[str, str, tuple[str, ...] | None]]) -> None:
    assert codes(*states) == expected


def test_findings_speak_to_people() -> None:
    [finding] = check_machine(machine(state("a", {"x": "end", "y": "b"}), END, state("b", {}, command=COMMAND)))
    message = "'b' sends 'work' but lists no transitions: no answer leads on from it"
    assert finding == Finding("machine.states[2]", "unanswered-command", message, "warning", ("y",))
    [loop] = check_machine(machine(state("a", {"x": "end", "y": "a"}), END))
    assert loop.message == "'y' leads from 'a' back to it"


def test_traces_are_shortest_and_lead_where_they_say() -> None:
    built = machine(
        state("a", {"far": "b", "near": "d"}),
        state("b", {"x": "c"}),
        state("c", {"x": "d"}),
        state("d", {"x": "c"}),
        END,
    )
    traces = find_traces(built)
    assert traces == {"a": (), "b": ("far",), "d": ("near",), "c": ("far", "x")}
    for target, trace in traces.items():
        saga = decide(built, None, Create(SagaId("s"), "e", {}, 0)).saga
        for event in trace:
            saga = decide(built, saga, EventReceived(SagaId("s"), event, {}, 0)).saga
        assert saga is not None
        assert saga.current_state == target
