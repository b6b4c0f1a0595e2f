"""How commands that read much show how far they are."""

import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Advance = Callable[[int, int], None]
"""How much is done, and of how much."""


def progress_bars(console: Console) -> Progress:
    """Bars on a terminal; nothing elsewhere. A context manager."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())


def add_bar(progress: Progress, name: str) -> Advance:
    """A bar of its own for one step."""
    bar = progress.add_task(name, total=None)
    return lambda done, total: progress.update(bar, completed=done, total=max(total, done))
