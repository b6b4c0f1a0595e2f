"""`sagas`: what an engine knows about its sagas, and copies of all of them.

| module      | holds                                                                       |
|-------------|-----------------------------------------------------------------------------|
| `client`    | questions to an engine over HTTP, and sentences for what goes wrong         |
| `filters`   | the options that say which sagas: `list` and `watch` share them             |
| `listing`   | `list`: a table, or a JSON object per line                                  |
| `reading`   | `get`: one saga, its history as a timeline                                  |
| `watching`  | `watch`: a line for every change                                            |
| `exporting` | `export`: all sagas of a log to a file                                      |
| `importing` | `import`: back again                                                        |
| `text`      | how sagas look on a terminal                                                |
"""

import argparse
from typing import Final

from flowmachine.cli.command import EXIT_PROBLEM, Command
from flowmachine.cli.problem_text import error_console, print_problems
from flowmachine.cli.sagas.exporting import EXPORT
from flowmachine.cli.sagas.importing import IMPORT
from flowmachine.cli.sagas.listing import LIST
from flowmachine.cli.sagas.reading import GET
from flowmachine.cli.sagas.watching import WATCH
from flowmachine.errors import ConfigurationError, FlowMachineError, Problem

COMMANDS: Final[tuple[Command, ...]] = (LIST, GET, WATCH, EXPORT, IMPORT)


def _configure(parser: argparse.ArgumentParser) -> None:
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
        subparser.set_defaults(saga_command=command)


def _run(arguments: argparse.Namespace) -> int:
    command: Command = arguments.saga_command
    try:
        return command.run(arguments)
    except ConfigurationError as error:
        print_problems(error_console(), error.problems)
    except FlowMachineError as error:
        print_problems(error_console(), [Problem("", error.code, str(error))])
    return EXIT_PROBLEM


SAGAS: Final = Command(
    name="sagas",
    summary="list, read and watch sagas; copy all of them to a file and back",
    configure=_configure,
    run=_run,
    details="Exit code 0: done; 1: something is wrong (it has been printed); 2: called wrongly.",
)
