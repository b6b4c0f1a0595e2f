"""`python -m tests.simulation`: many seeds, or one of them with its history."""

import argparse
import sys
import time

from tests.simulation.run import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and print its history")
    parser.add_argument("--seeds", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first one (%(default)s)")
    options = parser.parse_args()
    if options.seed is not None:
        outcome = simulate(options.seed)
        sys.stdout.write(f"{outcome}\n")
        return bool(outcome.problems)
    started = time.monotonic()
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        outcome = simulate(seed)
        if outcome.problems:
            failed += 1
            sys.stdout.write(f"seed {seed}: {'; '.join(outcome.problems)}"[:500] + "\n")
    sys.stdout.write(f"{options.seeds} seeds, {failed} failed, {time.monotonic() - started:.0f} s\n")
    return failed > 0


sys.exit(main())
