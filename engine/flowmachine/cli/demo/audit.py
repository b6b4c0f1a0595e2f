"""Was anything lost, or done twice? Judged from what stands in the log when all is over.

| question                                             | how it is answered                                           |
|------------------------------------------------------|--------------------------------------------------------------|
| is every order that was taken there, and finished?   | its saga's record in the sagas topic is in a final state     |
| was an order taken twice?                            | every record is the saga of exactly one order                |
| was a command lost, or sent twice?                   | the commands topic holds, for each saga, the commands of the |
|                                                      | states in its history, each exactly once                     |
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowmachine.cli.demo.board import states_of
from flowmachine.core.definition import Machine, StateId
from flowmachine.core.saga import Saga

CommandKey = tuple[str, str]
"""(saga id, command label)."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; each of the tuples should be empty."""

    orders: int
    commands: int
    lost: tuple[str, ...]
    """Orders without a saga."""
    unfinished: tuple[str, ...]
    surplus: tuple[str, ...]
    """Sagas that belong to no order."""
    missing: tuple[CommandKey, ...]
    doubled: tuple[CommandKey, ...]
    """Commands beyond the one that a state asks for."""

    @property
    def is_clean(self) -> bool:
        """Nothing lost, nothing doubled."""
        return not (self.lost or self.unfinished or self.surplus or self.missing or self.doubled)


def audit(
    machine: Machine,
    saga_ids: Mapping[str, str],
    sagas: Mapping[str, Saga],
    commands: Iterable[CommandKey],
) -> Audit:
    """Compare the orders (id -> saga id), the sagas' last records, and every command in the log."""
    found = Counter(commands)
    expected = Counter(key for saga_id, saga in sagas.items() for key in _expected(machine, saga_id, saga))
    owners = Counter(saga_ids.values())
    return Audit(
        orders=len(saga_ids),
        commands=found.total(),
        lost=tuple(order for order, saga_id in saga_ids.items() if saga_id not in sagas),
        unfinished=tuple(saga_id for saga_id, saga in sagas.items() if not saga.is_final),
        surplus=tuple(saga_id for saga_id in sagas if owners[saga_id] != 1),
        missing=tuple((expected - found).elements()),
        doubled=tuple((found - expected).elements()),
    )


def _expected(machine: Machine, saga_id: str, saga: Saga) -> Iterable[CommandKey]:
    for step in states_of(saga):
        state = machine.states[StateId(step.state)]
        commands = state.side_commands if state.command is None else (state.command, *state.side_commands)
        yield from ((saga_id, command.label) for command in commands if not command.is_outbox)
