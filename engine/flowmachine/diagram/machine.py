"""A machine as a graph.

Which ends are good is read from the machine's structure, never guessed from names. From the initial state we follow
the *main way*: in each state the first listed transition that goes on, to a state that is neither final nor met before;
where none goes on, the first one that ends. Then a final state is

| tone    | when                                                                                              |
|---------|---------------------------------------------------------------------------------------------------|
| good    | the main way ends in it                                                                            |
| bad     | every way into it turns off: the state before it also goes on, or ends in the good end instead     |
| neutral | otherwise, for example at the end of a chain of compensations: it may be good or bad, we cannot know |

So `created -> paymentFailed` beside `created -> paymentExecuted -> ...` is an end that turns off. A machine that lists
what goes wrong first, and then continues from there for several states, gets its colours the other way round.
"""

from collections.abc import Mapping

from flowmachine.core.definition import Machine, State, StateId
from flowmachine.diagram.graph import Edge, Graph, Kind, Node, Tone
from flowmachine.diagram.measures import format_count

TransitionCounts = Mapping[tuple[str, str], int]
"""(source state, event) -> how often that transition was taken."""


def machine_graph(
    machine: Machine, counts: Mapping[str, int] | None = None, transition_counts: TransitionCounts | None = None
) -> Graph:
    """The graph of a machine. States in `counts` show theirs; with `transition_counts` all transitions do."""
    tones = final_tones(machine)
    nodes = [
        _node(machine, state, tones.get(state.id, "neutral"), None if counts is None else counts.get(state.id))
        for state in machine.states.values()
    ]
    edges = [
        Edge(
            source=state.id,
            target=transition.target_state,
            label=event,
            count=None if transition_counts is None else transition_counts.get((state.id, event), 0),
        )
        for state in machine.states.values()
        for event, transition in state.transitions.items()
    ]
    return Graph(machine.name, tuple(nodes), tuple(edges))


def final_tones(machine: Machine) -> dict[StateId, Tone]:
    """The tone of every final state, by the rule above."""
    good = _main_end(machine)
    sources: dict[StateId, list[State]] = {state.id: [] for state in machine.states.values() if state.is_final}
    for state in machine.states.values():
        for transition in state.transitions.values():
            if transition.target_state in sources and transition.target_state != state.id:
                sources[transition.target_state].append(state)
    return {
        target: "good" if target == good else "bad" if _only_turns_off(machine, entries, good) else "neutral"
        for target, entries in sources.items()
    }


def _main_end(machine: Machine) -> StateId | None:
    """The final state at the end of the main way; None when the way ends in a circle or a dead end."""
    state = machine.states[machine.initial_state]
    met = {state.id}
    while not state.is_final:
        targets = [machine.states[transition.target_state] for transition in state.transitions.values()]
        fresh = [target for target in targets if target.id not in met]
        following = next((target for target in fresh if not target.is_final), next(iter(fresh), None))
        if following is None:
            return None
        met.add(following.id)
        state = following
    return state.id


def _only_turns_off(machine: Machine, entries: list[State], good: StateId | None) -> bool:
    """Whether each of the states that lead to an end has a better way: on, or to the good end."""
    return bool(entries) and all(
        any(
            not machine.states[transition.target_state].is_final or transition.target_state == good
            for transition in entry.transitions.values()
            if transition.target_state != entry.id
        )
        for entry in entries
    )


def _node(machine: Machine, state: State, tone: Tone, count: int | None) -> Node:
    kind: Kind = "initial" if state.id == machine.initial_state else "final" if state.is_final else "normal"
    business = state.business_state
    details = [state.description, f"business state: {business.id} {business.description}".rstrip()]
    details.extend(f"side effect: {command.label}" for command in state.side_commands)
    return Node(
        id=state.id,
        kind=kind,
        title=state.id,
        subtitle=state.command.label if state.command is not None else "",
        badge="" if count is None else format_count(count),
        tone=tone,
        details="\n".join(line for line in details if line),
    )
