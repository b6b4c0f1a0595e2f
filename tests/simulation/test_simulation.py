"""All guarantees hold for every seed, and a seed does the same every time.

`FLOWMACHINE_SIMULATION_SEEDS` says how many; `make simulate SEEDS=100000` takes as long as one has.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import simulate

SEEDS = int(os.environ.get("FLOWMACHINE_SIMULATION_SEEDS") or (2000 if os.environ.get("CI") == "true" else 400))
SEEDS_PER_TEST = 50
SEED_REPLAYED = 37


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_all_guarantees_hold_whatever_the_seed(first: int) -> None:
    for seed in range(first, min(first + SEEDS_PER_TEST, SEEDS)):
        outcome = simulate(seed)
        if outcome.problems:
            pytest.fail(str(outcome), pytrace=False)


def test_a_seed_replays_exactly_even_in_another_process() -> None:
    first, second = simulate(SEED_REPLAYED), simulate(SEED_REPLAYED)
    assert first.history == second.history
    assert len(first.history) > 50
    root = Path(__file__).parents[2]
    environment = {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join([str(root / "engine"), str(root)])}
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(SEED_REPLAYED)]
    told = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(first).strip()
