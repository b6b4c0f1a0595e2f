"""The entry: picks the command, and turns what it raises into sentences and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from flowmachine import __version__
from flowmachine.cli.audit import AUDIT
from flowmachine.cli.check import CHECK
from flowmachine.cli.command import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, Command
from flowmachine.cli.demo import DEMO
from flowmachine.cli.diagram import DIAGRAM
from flowmachine.cli.importing import IMPORT
from flowmachine.cli.problem_text import error_console, print_problems
from flowmachine.cli.project import PROJECT
from flowmachine.cli.run import RUN
from flowmachine.cli.sagas import SAGAS
from flowmachine.errors import ConfigurationError

COMMANDS: Final[tuple[Command, ...]] = (RUN, PROJECT, CHECK, IMPORT, DIAGRAM, SAGAS, AUDIT, DEMO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of `argv` or of the process, and return the exit code."""
    try:
        arguments = _build_parser().parse_args(argv)
        command: Command = arguments.command
        return command.run(arguments)
    except SystemExit as ending:  # argparse has said what is wrong, or printed the help
        return ending.code if isinstance(ending.code, int) else EXIT_OK
    except ConfigurationError as error:
        print_problems(error_console(), error.problems)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # who read our output has seen enough; Python would complain when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowmachine", description="Run long-lived business processes as state machines, on Kafka or on one file."
    )
    parser.add_argument("--version", action="version", version=f"flowmachine {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=command.details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.configure(subparser)
        subparser.set_defaults(command=command)
    return parser
