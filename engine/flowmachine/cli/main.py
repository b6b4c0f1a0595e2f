"""The entry: picks the command, and turns what it raises into sentences and exit codes."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from flowmachine import __version__
from flowmachine.cli.audit import AUDIT
from flowmachine.cli.check import CHECK
from flowmachine.cli.command import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_OUTPUT_CLOSED,
    Command,
    Group,
    Parser,
    add_commands,
)
from flowmachine.cli.demo import DEMO
from flowmachine.cli.diagram import DIAGRAM
from flowmachine.cli.importing import IMPORT
from flowmachine.cli.output import error_console
from flowmachine.cli.problem_text import print_problems
from flowmachine.cli.project import PROJECT
from flowmachine.cli.run import RUN
from flowmachine.cli.sagas import SAGAS
from flowmachine.cli.source import SourceError
from flowmachine.errors import ConfigurationError, FlowMachineError, Problem

COMMANDS: Final[tuple[Command | Group, ...]] = (RUN, PROJECT, CHECK, IMPORT, DIAGRAM, SAGAS, AUDIT, DEMO)
_OUTPUT_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
_NO_LOG: Final = logging.NullHandler()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, of `argv` or of the process, and return the exit code."""
    _open_missing_streams()
    # What libraries warn about comes back to us as errors; `run` and `project` set up a log of their own.
    logging.getLogger().addHandler(_NO_LOG)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EXIT_OUTPUT_CLOSED


def _run(argv: Sequence[str] | None) -> int:
    parser = Parser(
        prog="flowmachine", description="Run long-lived business processes as state machines, on Kafka or on one file."
    )
    parser.add_argument("--version", action="version", version=f"flowmachine {__version__}")
    add_commands(parser, COMMANDS)
    try:
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as ending:  # argparse has said what is wrong, or printed the help
        return ending.code if isinstance(ending.code, int) else EXIT_OK
    return _run_command(arguments.command, arguments)


def _run_command(command: Command, arguments: argparse.Namespace) -> int:
    try:
        code = command.run(arguments)
        sys.stdout.flush()
    except ConfigurationError as error:
        source = error.source if isinstance(error, SourceError) else ""
        print_problems(error_console(), error.problems, source=source)
    except FlowMachineError as error:
        print_problems(error_console(), [Problem("", error.code, str(error))])
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        _drop_output()
        text = f"what was asked for cannot be written: {error.strerror}"
        print_problems(error_console(), [Problem(error.filename or "standard output", "not-writable", text)])
    else:
        return code
    return command.exit_when_failed


def _open_missing_streams() -> None:
    """Whoever started us may have closed our streams: there is nothing to read then, and what we write goes nowhere."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _drop_output() -> None:
    """What has not been written yet cannot be; Python would complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
