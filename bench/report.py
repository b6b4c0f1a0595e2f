"""Where figures go: one JSON line each into a file, as soon as they are known, and a table on the terminal."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Target
from bench.picture import draw, read_values

_QUIET_LOAD_PER_CORE = 0.25
_UNIT_PLACES = {
    "us": 1,
    "ratio": 2,
    "ms": 1,
    "events/s": 0,
    "records/s": 0,
    "sagas/s": 0,
    "commands/s": 0,
    "bytes": 0,
    "records": 0,
    "s": 3,
}


class Report:
    """The results of one run."""

    def __init__(self, folder: Path, console: Console, facts: Mapping[str, Any], *, is_quick: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        began = datetime.now(UTC)
        self._console = console
        self._common = {"run": began.isoformat(timespec="seconds"), "quick": is_quick, "machine": dict(facts)}
        self._figures: list[Figure] = []
        self.path = folder / f"{began:%Y%m%dT%H%M%SZ}-{os.getpid()}.jsonl"

    def add(self, figures: Sequence[Figure]) -> None:
        """Keep figures, on disk at once."""
        self._figures += figures
        with self.path.open("a", encoding="utf-8") as file:
            for figure in figures:
                file.write(json.dumps(to_entry(figure) | self._common, ensure_ascii=False) + "\n")

    def show(self) -> None:
        """Print the table, and on what machine it was measured; nothing if there is no figure."""
        if not self._figures:
            return
        machine = self._common["machine"]
        assert isinstance(machine, dict)
        self._console.print(build_table(self._figures))
        self._console.print(
            f"{machine['cores']} cores ({machine['cpu']}), Python {machine['python']}, Kafka {machine['kafka']}, "
            f"aiokafka {machine['aiokafka']}, revision {machine['revision']}",
            highlight=False,
        )
        if machine["load_at_start"] > _QUIET_LOAD_PER_CORE * machine["cores"]:
            self._console.print(
                f"The machine was busy when this began (load {machine['load_at_start']}): figures are worse than they "
                "would be, and ratios less certain.",
                style="yellow",
            )
        if self._common["quick"]:
            self._console.print("A quick run shows that everything works; its figures are not worth quoting.")
        picture = self.path.with_suffix(".svg")
        values, caption = read_values([self.path])
        picture.write_text(draw(values, caption=caption), "utf-8")
        self._console.print(f"All rounds: {self.path}; a picture: {picture}", highlight=False, soft_wrap=True)


def to_entry(figure: Figure) -> dict[str, Any]:
    """What the file keeps of a figure, without the machine."""
    target = figure.target
    return {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "target": None if target is None else f"{target.bound} {target.value:g}",
        "is_met": None if target is None else target.is_met(figure.value),
        "first_target": None if target is None or target.first is None else f"{target.bound} {target.first:g}",
        "is_first_met": None if target is None else target.is_first_met(figure.value),
        "rounds": list(figure.rounds),
    }


def build_table(figures: Sequence[Figure]) -> Table:
    """The figures for people, a section for each measurement."""
    table = Table(title="FlowMachine, measured", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("target", justify="right")
    table.add_column("met", no_wrap=True)
    before = ""
    for figure in figures:
        measurement = figure.name.partition(".")[0]
        if before and measurement != before:
            table.add_section()
        target = figure.target
        table.add_row(
            measurement if measurement != before else "",
            figure.text,
            _quantity(figure.value, figure.unit),
            "" if target is None else _aim(target, figure.unit),
            "" if target is None else _judgement(target, figure.value),
        )
        before = measurement
    return table


def _aim(target: Target, unit: str) -> str:
    sign = "≤" if target.bound == "at most" else "≥"
    first = "" if target.first is None else f" (first {sign} {_quantity(target.first, unit)})"
    return f"{sign} {_quantity(target.value, unit)}{first}"


def _judgement(target: Target, value: float) -> str:
    if target.is_met(value):
        return "[green]yes[/]"
    return "[yellow]first[/]" if target.first is not None and target.is_first_met(value) else "[red]no[/]"


def _quantity(value: float, unit: str) -> str:
    return f"{value:,.{_UNIT_PLACES[unit]}f}{'' if unit == 'ratio' else f' {unit}'}"
