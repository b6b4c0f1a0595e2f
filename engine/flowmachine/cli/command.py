"""What a command is, and how commands become a parser.

Exit codes: 0 it is done, 1 something must be changed first (the problems have been printed), 2 it was called wrongly,
130 it was interrupted, 141 nobody reads its output any more (128 and the signal's number, as shells count).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

EXIT_OK: Final = 0
EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_OUTPUT_CLOSED: Final = 141


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its options, and what it does with them; `run` returns the exit code.

    `exit_when_failed` is that of a run which raised one of our errors.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
    exit_when_failed: int = EXIT_PROBLEM


@dataclass(frozen=True, slots=True)
class Group:
    """A subcommand that has subcommands."""

    name: str
    summary: str
    commands: Sequence[Command]
    details: str = ""


class Parser(argparse.ArgumentParser):
    """A parser whose errors say where help is."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message}\n`{self.prog} --help` tells what there is.\n")


def add_commands(parser: argparse.ArgumentParser, commands: Sequence[Command | Group]) -> None:
    """Arguments that were parsed have `command`, the Command, and `parser`, its parser."""
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=command.details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if isinstance(command, Group):
            add_commands(subparser, command.commands)
        else:
            command.configure(subparser)
            subparser.set_defaults(command=command, parser=subparser)
