"""`sagas get`."""

import argparse
import sys
import time
from typing import Final

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.output import output_console
from flowmachine.cli.sagas.client import EngineClient, add_url_option
from flowmachine.cli.sagas.text import saga_lines


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("saga_id", metavar="ID", help="the saga's id")
    add_url_option(parser)
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="json: as the engine answers (%(default)s)"
    )


def _run(arguments: argparse.Namespace) -> int:
    with EngineClient(arguments.url) as client:
        saga, body = client.saga(arguments.saga_id)
    if arguments.output == "json":
        sys.stdout.write(body.decode() + "\n")
        return EXIT_OK
    console = output_console()
    for line in saga_lines(saga, time.time_ns() // 1_000_000):
        console.print(line)
    return EXIT_OK


GET: Final = Command(
    name="get",
    summary="show a saga: its state, its history as a timeline, its metadata",
    configure=_configure,
    run=_run,
)
