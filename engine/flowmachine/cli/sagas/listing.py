"""`sagas list`."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.output import error_console, output_console
from flowmachine.cli.problem_text import count
from flowmachine.cli.sagas.client import EngineClient, add_url_option
from flowmachine.cli.sagas.filters import add_filter_options, build_query
from flowmachine.cli.sagas.text import HEADINGS, column_widths, saga_row, state_style, table_line
from flowmachine.wire.listing import SagaPage, SagaSummary

LIMIT_DEFAULT: Final = 100


def parse_limit(text: str) -> int:
    """A number of sagas, at least 1. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of sagas")
    return int(text)


def _configure(parser: argparse.ArgumentParser) -> None:
    add_url_option(parser)
    add_filter_options(parser)
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument(
        "--limit", metavar="N", type=parse_limit, default=LIMIT_DEFAULT, help="at most so many (%(default)s)"
    )
    how_many.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="json: an object per line, as they come (%(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    count_max: int | None = None if arguments.all else arguments.limit
    with EngineClient(arguments.url) as client:
        pages = _with_progress(client.pages(build_query(arguments), count_max))
        if arguments.output == "json":
            _print_lines(pages)
        else:
            _print_sagas(pages)
    return EXIT_OK


def _print_lines(pages: Iterator[SagaPage]) -> None:
    for page in pages:
        for saga in page.sagas:
            sys.stdout.write(msgspec.json.encode(saga).decode() + "\n")
        sys.stdout.flush()


def _print_sagas(pages: Iterator[SagaPage]) -> None:
    sagas: list[SagaSummary] = []
    has_more = False
    for page in pages:
        sagas += page.sagas
        has_more = page.next_cursor is not None
    print_table(output_console(), sagas)
    more = ", and there may be more: --limit N or --all shows them" if has_more else ""
    error_console().print(Text(f"{count(len(sagas), 'saga')}{more}", "dim"))


def print_table(console: Console, sagas: list[SagaSummary]) -> None:
    """The sagas with headings; nothing if there are none."""
    if not sagas:
        return
    now_ms = time.time_ns() // 1_000_000
    rows = [saga_row(saga, now_ms) for saga in sagas]
    widths = column_widths(rows, console.width if console.is_terminal else None)
    console.print(table_line(HEADINGS, widths, style="bold"))
    for saga, row in zip(sagas, rows, strict=True):
        console.print(table_line(row, widths, state_style=state_style(saga)))


def _with_progress(pages: Iterator[SagaPage]) -> Iterator[SagaPage]:
    """The same pages; how many sagas there are so far is shown if it takes more than a moment."""
    console = error_console()
    if not console.is_terminal:
        yield from pages
        return
    found = 0
    with console.status("asking the engine") as status:
        for page in pages:
            found += len(page.sagas)
            status.update(f"{count(found, 'saga')} found")
            yield page


LIST: Final = Command(
    name="list",
    summary="list sagas",
    configure=_configure,
    run=_run,
    details="Sagas that nothing has happened to for an hour: --no-finished --updated-before 1h\n"
    "The order means nothing, but stays the same while sagas move.",
)
