"""What looks wrong in a whole machine. Flow Manager runs any machine, and so do we: all of this is advice.

| code                     | what was found                                                             | trace |
|--------------------------|----------------------------------------------------------------------------|-------|
| `no-final-state`         | no state is final: no saga ever finishes                                   | no    |
| `unreachable-state`      | no events lead from the initial state to it                                | no    |
| `dead-end`               | not final, and no event leads on                                           | yes   |
| `unanswered-command`     | not final, sends a command, and no event leads on                          | yes   |
| `no-way-to-final`        | events lead on, but never to a final state                                 | yes   |
| `final-state-continues`  | final, yet events lead on                                                  | yes   |
| `final-state-command`    | final, yet it sends a command whose answer would change nothing            | yes   |
| `transition-to-itself`   | an event leads back to the same state, whose command is sent again          | yes   |
| `unused-business-state`  | no state belongs to it                                                     | no    |
| `unused-business-event`  | no transition stands for it                                                | no    |
| `unused-channel`         | no command uses it and no event comes in on it                             | no    |

A trace is a shortest list of events that takes a new saga to the state; replayed through `decide` it ends there (events
with a payload schema need one that fits). A state that no events reach has no trace.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, final

import msgspec

from flowmachine.core.definition import BusinessId, ChannelId, Machine, State, StateId, Transition

Trace = tuple[str, ...]


@final
class Finding(msgspec.Struct, frozen=True):
    """One thing to look at. `path` begins below `spec`: `machine.states[3].outgoingTransitions[0]`, `channels[1]`."""

    path: str
    code: str
    message: str
    severity: Literal["warning", "error"] = "warning"
    trace: Trace | None = None


@final
class Declared(msgspec.Struct, frozen=True):
    """What the definition declares beside states, in its order; a compiled machine holds only what its states use."""

    channels: tuple[ChannelId, ...] = ()
    listening_channels: frozenset[ChannelId] = frozenset()
    business_states: tuple[BusinessId, ...] = ()
    business_events: tuple[BusinessId, ...] = ()


def check_machine(machine: Machine, declared: Declared | None = None) -> list[Finding]:
    """All findings: first about states, in their order, then about what is declared and not used."""
    traces = find_traces(machine)
    finishing = _states_that_can_finish(machine)
    findings: list[Finding] = []
    if not any(state.is_final for state in machine.states.values()):
        message = "no state is final, so no saga ever finishes"
        findings.append(Finding("machine.states", "no-final-state", message))
        finishing = frozenset(machine.states)
    for index, state in enumerate(machine.states.values()):
        path, trace = f"machine.states[{index}]", traces.get(state.id)
        if trace is None:
            message = f"no events lead from the initial state to '{state.id}'"
            findings.append(Finding(path, "unreachable-state", message))
        judge = _check_final if state.is_final else _check_open
        findings.extend(judge(path, state, trace, finishing))
        findings.extend(_check_loops(path, state, trace))
    if declared is not None:
        findings.extend(_check_unused(machine, declared))
    return findings


def find_traces(machine: Machine) -> Mapping[StateId, Trace]:
    """For every state that events can reach: a shortest list of them, beginning in the initial state."""
    traces: dict[StateId, Trace] = {machine.initial_state: ()}
    waiting = deque([machine.initial_state])
    while waiting:
        source = waiting.popleft()
        for event, transition in machine.states[source].transitions.items():
            if transition.target_state not in traces:
                traces[transition.target_state] = (*traces[source], event)
                waiting.append(transition.target_state)
    return traces


def _states_that_can_finish(machine: Machine) -> frozenset[StateId]:
    sources: dict[StateId, list[StateId]] = {}
    for state in machine.states.values():
        for transition in state.transitions.values():
            sources.setdefault(transition.target_state, []).append(state.id)
    waiting = [state.id for state in machine.states.values() if state.is_final]
    found = set(waiting)
    while waiting:
        for source in sources.get(waiting.pop(), ()):
            if source not in found:
                found.add(source)
                waiting.append(source)
    return frozenset(found)


def _check_open(path: str, state: State, trace: Trace | None, finishing: frozenset[StateId]) -> Iterator[Finding]:
    if not state.transitions:
        if state.command is None:
            message = f"'{state.id}' is not final and lists no transitions: sagas stay in it for ever"
            yield Finding(path, "dead-end", message, trace=trace)
        else:
            message = f"'{state.id}' sends '{state.command.label}' but lists no transitions: no answer leads on from it"
            yield Finding(path, "unanswered-command", message, trace=trace)
    elif state.id not in finishing:
        message = f"no events lead from '{state.id}' to a final state"
        yield Finding(path, "no-way-to-final", message, trace=trace)


def _check_final(path: str, state: State, trace: Trace | None, _finishing: frozenset[StateId]) -> Iterator[Finding]:
    if state.transitions:
        events = ", ".join(f"'{event}'" for event in state.transitions)
        message = f"'{state.id}' is final, yet {events} would lead on from it"
        yield Finding(f"{path}.outgoingTransitions", "final-state-continues", message, trace=trace)
    elif state.command is not None:
        message = (
            f"'{state.id}' is final, so no answer to '{state.command.label}' is awaited; a side effect says that better"
        )
        yield Finding(f"{path}.outputCommand", "final-state-command", message, trace=trace)


def _check_loops(path: str, state: State, trace: Trace | None) -> Iterator[Finding]:
    for index, transition in enumerate(state.transitions.values()):
        if transition.target_state == state.id:
            again = "" if state.command is None else f" and sends '{state.command.label}' again, without limit"
            message = f"'{transition.input_event}' leads from '{state.id}' back to it{again}"
            looped = None if trace is None else (*trace, transition.input_event)
            at = f"{path}.outgoingTransitions[{index}]"
            yield Finding(at, "transition-to-itself", message, trace=looped)


def _check_unused(machine: Machine, declared: Declared) -> Iterator[Finding]:
    states = machine.states.values()
    commands = [command for state in states for command in (state.command, *state.side_commands) if command is not None]
    channels = {command.channel for command in commands} | declared.listening_channels
    business_events = {
        transition.business_event.id for transition in _transitions(states) if transition.business_event is not None
    }
    business_states = {state.business_state.id for state in states}
    yield from _unused("machine.businessStates", "business state", declared.business_states, business_states)
    yield from _unused("machine.businessEvents", "business event", declared.business_events, business_events)
    yield from _unused("channels", "channel", declared.channels, channels)


def _unused(
    path: str, what: str, declared: Iterable[BusinessId | ChannelId], used: set[BusinessId] | set[ChannelId]
) -> Iterator[Finding]:
    for index, name in enumerate(declared):
        if name not in used:
            message = f"the {what} {name!r} is declared but not used"
            yield Finding(f"{path}[{index}]", f"unused-{what.replace(' ', '-')}", message)


def _transitions(states: Iterable[State]) -> Iterator[Transition]:
    for state in states:
        yield from state.transitions.values()
