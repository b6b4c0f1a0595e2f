"""What one sees while it runs: bars that move on a terminal, a few lines elsewhere."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowmachine.cli.demo.scenario import Stage
from flowmachine.cli.demo.workload import arrival_rate
from flowmachine.diagram.graph import Tone
from flowmachine.diagram.machine import final_tones

BAR_COLUMNS: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_LINE_SHARES: Final = 4
"""Without a terminal, a line for each of so many parts of the orders."""
STYLES: Final[Mapping[Tone, str]] = {"good": "green", "bad": "red", "neutral": "cyan"}


class Display(Protocol):
    """Shows how things are; called many times a second."""

    def show(self) -> None:
        """Show how things are now."""
        ...


@contextmanager
def open_display(console: Console, stage: Stage) -> Generator[Display]:
    """A display that suits the console."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield _Bars(live, stage)
    else:
        yield _Lines(console, stage)


def headline(stage: Stage) -> str:
    """What is about to be seen."""
    return (
        f"{len(stage.orders)} orders, {arrival_rate(len(stage.orders)):.0f} a second. "
        "The engine is a process of its own, its log one file; payment, warehouse and courier are here."
    )


def bars(stage: Stage) -> Table:
    """How many orders are in each state."""
    counts, tones = stage.board.by_state(), final_tones(stage.machine)
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(width=BAR_COLUMNS, no_wrap=True)
    table.add_column(justify="right", width=5)
    for state in stage.machine.states.values():
        style = STYLES[tones.get(state.id, "neutral")]
        name = Text(state.id, "bold" if state.is_final else "")
        table.add_row(name, Text(_bar(counts[state.id], len(stage.orders)), style), str(counts[state.id]))
    return table


def _bar(number: int, total: int) -> str:
    eighths = round(number / total * BAR_COLUMNS * 8)
    if number and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


class _Bars:
    def __init__(self, live: Live, stage: Stage) -> None:
        self._live = live
        self._stage = stage

    def show(self) -> None:
        self._live.update(self._render(), refresh=True)

    def _render(self) -> RenderableType:
        stage = self._stage
        if not stage.begin:
            return Text(f"{stage.note} ...", "dim")
        done, total = stage.board.finished, len(stage.orders)
        seconds = max(stage.board.finished_at.values()) if done == total else time.monotonic()
        status = Text.assemble(
            (f"{done} of {total} done", "bold"),
            f", {stage.board.unfinished} on their way, {seconds - stage.begin:.1f} s. ",
            (f"Engine: process {stage.engine.pid}. ", "dim") if stage.engine.is_ready or done == total else "",
        )
        lines: list[RenderableType] = [bars(stage), Text(), status]
        if stage.note:
            lines.append(Text(stage.note, "bold red"))
        elif stage.kills:
            lines.append(Text(f"killed {len(stage.kills)} times, and back each time", "yellow"))
        return Group(*lines)


class _Lines:
    def __init__(self, console: Console, stage: Stage) -> None:
        self._console = console
        self._stage = stage
        self._note = ""
        self._parts = 0

    def show(self) -> None:
        stage = self._stage
        if stage.note != self._note:
            self._note = stage.note
            if stage.note:
                self._console.print(stage.note)
        done, total = stage.board.finished, len(stage.orders)
        parts = done * _LINE_SHARES // total
        if parts > self._parts:
            self._parts = parts
            self._console.print(f"{done} of {total} orders done, {stage.board.unfinished} on their way")
