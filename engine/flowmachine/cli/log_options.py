"""Options of the commands that work on a machine's log, and how they show that they do."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from flowmachine.cli.run import DATA_DIR_DEFAULT, SECRETS_DIR_DEFAULT
from flowmachine.cli.source import add_source_options

if TYPE_CHECKING:
    from flowmachine.app import RunOptions

Advance = Callable[[int, int], None]
"""How much is done, and of how much."""


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """Which machine, and where its log is."""
    add_source_options(parser)
    parser.add_argument("--embedded", action="store_true", help="the log is the file that `run --embedded` keeps")
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, default=DATA_DIR_DEFAULT, help="folder of that file (./%(default)s)"
    )
    parser.add_argument(
        "--secrets-dir",
        metavar="DIR",
        type=Path,
        default=SECRETS_DIR_DEFAULT,
        help="folder of the files {name}/{key} that secretKeyRefs name (%(default)s)",
    )


def read_log_options(arguments: argparse.Namespace) -> "RunOptions":
    """What the options say."""
    from flowmachine.app import RunOptions  # only here: what a log needs takes a second to import

    return RunOptions(
        http_host="127.0.0.1",
        http_port=0,
        advertise=None,
        is_embedded=arguments.embedded,
        data_dir=arguments.data_dir,
        secrets_dir=arguments.secrets_dir,
    )


def progress_bars(console: Console) -> Progress:
    """Bars on a terminal; nothing elsewhere. A context manager."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())


def add_bar(progress: Progress, name: str) -> Advance:
    """A bar of its own for one step."""
    bar = progress.add_task(name, total=None)
    return lambda done, total: progress.update(bar, completed=done, total=max(total, done))
