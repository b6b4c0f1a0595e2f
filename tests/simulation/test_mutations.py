"""The simulation can fail: of every mutation it finds a seed that shows it."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from flowmachine.errors import InvariantError
from flowmachine.partition.partition import Partition
from tests.simulation.mutations import MUTATIONS
from tests.simulation.mutations_lifetime import LIFETIME_MUTATIONS
from tests.simulation.run import simulate
from tests.simulation.world import World

SEEDS_MAX = 300
"""Three times what the most patient one needs, so that a small change elsewhere does not hide it."""


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_simulation_catches(name: str) -> None:
    with MUTATIONS[name]():
        caught = next((seed for seed in range(SEEDS_MAX) if simulate(seed).problems), None)
    assert caught is not None, f"{SEEDS_MAX} seeds do not notice that {name.replace('_', ' ')}"


@pytest.mark.parametrize("name", LIFETIME_MUTATIONS)
def test_the_simulation_catches_in_the_course_of_a_saga(name: str) -> None:
    mutation, has_it = LIFETIME_MUTATIONS[name]
    seeds = [seed for seed in range(SEEDS_MAX * 3) if _is(seed, has_it)]
    with mutation():
        caught = next((seed for seed in seeds if simulate(seed).problems), None)
    assert caught is not None, f"{len(seeds)} seeds do not notice that {name.replace('_', ' ')}"


def _is(seed: int, has_it: Callable[[World], bool]) -> bool:
    world = World(seed)
    world.loop.close()
    return has_it(world)


def test_a_bug_that_strikes_while_a_batch_is_committed_loses_and_doubles_nothing() -> None:
    """Such as a record that cannot be read: the batch before is on its way into the log, and must not be forgotten."""
    plan, bugs_left = Partition.plan, 0

    def plan_or_fail(self: Partition, *arguments: Any, **options: Any) -> Any:
        nonlocal bugs_left
        if options.get("after") is not None and bugs_left:
            bugs_left -= 1
            raise InvariantError("a bug")
        return plan(self, *arguments, **options)

    with patch.object(Partition, "plan", plan_or_fail):
        for seed in range(30):
            bugs_left = 10
            outcome = simulate(seed)
            assert not outcome.problems, str(outcome)
