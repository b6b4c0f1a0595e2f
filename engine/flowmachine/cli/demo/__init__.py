"""`demo`: the newcomer's minute. An engine in a child process, three services here, a few hundred orders, the proof.

| module      | holds                                                                                      |
|-------------|--------------------------------------------------------------------------------------------|
| `workload`  | the orders, and the customers who place them over HTTP                                     |
| `services`  | payment, warehouse and courier: participants like any other                                |
| `engine`    | the child process, which is killed at will                                                 |
| `board`     | what is known of all sagas, from the machine's own sagas topic                             |
| `scenario`  | who does what when                                                                         |
| `audit`     | was anything lost or done twice? Pure, from what stands in the log at the end              |
| `display`   | what one sees while it runs                                                                |
| `report`    | what one reads afterwards                                                                  |
| `session`   | the folder, the order of things, errors in sentences                                       |
"""

import argparse
from typing import Final

from flowmachine.cli.command import Command

SAGAS_DEFAULT: Final = 300
SAGAS_MAX: Final = 5000
"""More do not finish within the minute on a small computer."""


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= SAGAS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {SAGAS_MAX}")
    return int(text)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sagas", metavar="N", type=_parse_count, default=SAGAS_DEFAULT, help="how many orders (%(default)s)"
    )
    parser.add_argument("--kill", action="store_true", help="kill the engine twice, without warning (kill -9)")
    parser.add_argument("--keep", metavar="DIR", help="work in this folder, and leave the log there to look around")


def _run(arguments: argparse.Namespace) -> int:
    # Only here: what the demo needs takes a second to import, and `check` should not wait for it.
    from flowmachine.cli.demo.session import run_demo

    return run_demo(orders_count=arguments.sagas, has_kills=arguments.kill, keep=arguments.keep)


DEMO: Final = Command(
    name="demo",
    summary="see a few hundred sagas run, without Kafka",
    configure=_configure,
    run=_run,
    details="Exit code 1: an order was lost, or something was done twice.",
)
