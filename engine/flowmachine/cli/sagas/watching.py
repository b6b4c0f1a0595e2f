"""`sagas watch`: a line for every change that is seen. Changes between two looks are seen as one."""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from flowmachine.cli.command import EXIT_OK, EXIT_USAGE, Command
from flowmachine.cli.output import error_console, output_console
from flowmachine.cli.sagas.client import EngineClient, add_url_option
from flowmachine.cli.sagas.filters import add_filter_options, build_query
from flowmachine.cli.sagas.text import HEADINGS, column_widths, saga_row, state_style, table_line, timeline
from flowmachine.wire.listing import SagaSummary

WATCHED_MAX: Final = 1000
"""Sagas that are watched at a time: one page, so that watching costs the engine little."""
INTERVAL_SECONDS_MIN: Final = 0.1


def _parse_interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not INTERVAL_SECONDS_MIN <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, {INTERVAL_SECONDS_MIN} or more")
    return seconds


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("saga_id", metavar="ID", nargs="?", help="follow this saga until it has finished")
    add_url_option(parser)
    add_filter_options(parser)
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_parse_interval, default=1.0, help="time between two looks (%(default)s)"
    )
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="json: an object per line (%(default)s)"
    )


def _run(arguments: argparse.Namespace) -> int:
    query = build_query(arguments)
    if arguments.saga_id is not None and query:
        error_console().print(Text("an ID and filters do not go together: the ID names one saga"))
        return EXIT_USAGE
    with EngineClient(arguments.url) as client:
        if arguments.saga_id is not None:
            _follow(client, arguments)
        else:
            _watch(client, query, arguments)
    return EXIT_OK


def _watch(client: EngineClient, query: Mapping[str, str], arguments: argparse.Namespace) -> None:
    if arguments.output == "text":
        error_console().print(Text(f"watching up to {WATCHED_MAX} sagas; Ctrl-C ends it", "dim"))
    console, widths = output_console(), list[int]()
    for saga in _changes(client, query, arguments.interval):
        if arguments.output == "json":
            sys.stdout.write(msgspec.json.encode(saga).decode() + "\n")
            sys.stdout.flush()
        else:
            widths = _print_change(console, saga, widths)


def _changes(client: EngineClient, query: Mapping[str, str], interval: float) -> Iterator[SagaSummary]:
    """Every saga as it is now, then again whenever it has changed; for ever."""
    known: dict[str, int] = {}
    while True:
        latest: dict[str, int] = {}
        for saga in client.sagas(query, WATCHED_MAX):
            latest[saga.saga_id] = saga.seq
            if known.get(saga.saga_id) != saga.seq:
                yield saga
        known = latest
        time.sleep(interval)


def _print_change(console: Console, saga: SagaSummary, widths: list[int]) -> list[int]:
    """Print a line; returns the columns' widths, which grow where a cell needs it."""
    row = saga_row(saga, time.time_ns() // 1_000_000)
    needed = column_widths([row], console.width if console.is_terminal else None)
    grown = [max(pair) for pair in zip(widths or needed, needed, strict=True)]
    if not widths:
        console.print(table_line(HEADINGS, grown, style="bold"))
    console.print(table_line(row, grown, state_style=state_style(saga)))
    return grown


def _follow(client: EngineClient, arguments: argparse.Namespace) -> None:
    console, shown, seq = output_console(), 0, 0
    while True:
        saga, body = client.saga(arguments.saga_id)
        if saga.seq != seq:
            if arguments.output == "json":
                sys.stdout.write(body.decode() + "\n")
                sys.stdout.flush()
            else:
                for line in timeline(saga.history.states, saga.history.events, shown=shown):
                    console.print(line)
        shown, seq = len(saga.history.states), saga.seq
        if saga.is_final:
            return
        time.sleep(arguments.interval)


WATCH: Final = Command(
    name="watch",
    summary="print a line for every change of sagas, or follow one until it has finished",
    configure=_configure,
    run=_run,
)
