"""`project`: the projector without an engine; `serve` does the work."""

import argparse
from typing import Final

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.logs import set_up_logging
from flowmachine.cli.run import add_process_options
from flowmachine.cli.source import load_source


def _run(arguments: argparse.Namespace) -> int:
    set_up_logging(log_format=arguments.log_format, level=arguments.log_level)
    resource = load_source(arguments)
    # Only here, as for `run`: it takes a second to import.
    from flowmachine.cli.serve import project

    project(resource, arguments)
    return EXIT_OK


PROJECT: Final = Command(
    name="project",
    summary="keep the machine's store up to date, apart from its engines, until SIGTERM",
    configure=add_process_options,
    run=_run,
    details="For engines that run with --no-projector. Several may run: they share the partitions.",
)
