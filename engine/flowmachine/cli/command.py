"""What a command is.

Exit codes: 0 it is done, 1 something must be changed first (the problems have been printed), 2 it was called wrongly,
130 it was interrupted.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EXIT_OK: Final = 0
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its options, and what it does with them; `run` returns the exit code."""

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
