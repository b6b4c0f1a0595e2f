"""What one reads afterwards."""

import math
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowmachine.api.saga_answer import SagaAnswer
from flowmachine.cli.demo.audit import Audit
from flowmachine.cli.demo.board import EventApplied, StateEntered, count_entered, count_transitions
from flowmachine.cli.demo.display import STYLES, bars
from flowmachine.cli.demo.scenario import Outcome
from flowmachine.cli.demo.services import WORK_SECONDS
from flowmachine.cli.demo.workload import arrival_rate
from flowmachine.core.definition import Machine, StateId
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.diagram import Graph, render_text
from flowmachine.diagram.machine import final_tones, machine_graph

TEXT_COLUMNS_MAX: Final = 100
_SHOWN_MAX: Final = 5


def outcome_graph(outcome: Outcome) -> Graph:
    """The machine with how many orders went where."""
    machine, sagas = outcome.stage.machine, list(outcome.stage.board.sagas.values())
    entered = count_entered(sagas)
    return machine_graph(machine, {state: entered[state] for state in machine.states}, count_transitions(sagas))


def print_report(console: Console, outcome: Outcome, drawing: Path, machine_file: Path) -> None:
    """Everything, from the numbers to what to try next."""
    if not console.is_terminal:
        console.print(bars(outcome.stage))
    _print_numbers(console, outcome)
    _print_example(console, outcome.stage.machine, outcome.example)
    _print_heading(console, "How many went where")
    console.print(_diagram(outcome_graph(outcome), min(console.width, TEXT_COLUMNS_MAX)))
    _print_audit(console, outcome)
    _print_next(console, drawing, machine_file, has_kills=bool(outcome.stage.kills))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that `share` of them do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _diagram(graph: Graph, columns: int) -> Text:
    text = Text(render_text(replace(graph, title=""), columns).rstrip())
    text.highlight_regex(r"✓ .*?(?=  |$)", STYLES["good"])
    text.highlight_regex(r"✗ .*?(?=  |$)", STYLES["bad"])
    text.highlight_regex(r"\[.+?\]", "dim")
    return text


def _print_heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _print_numbers(console: Console, outcome: Outcome) -> None:
    latencies, total = outcome.latencies, len(outcome.stage.orders)
    least, most = (round(seconds * 1000) for seconds in WORK_SECONDS)
    rates = f"{total / outcome.seconds:.0f} a second; they came at {arrival_rate(total):.0f} a second"
    _print_heading(console, f"{total} orders in {outcome.seconds:.1f} s: {rates}")
    outages = "The outages are in it. " if outcome.stage.kills else ""
    console.print(
        f"From request to last record: p50 {_ms(percentile(latencies, 0.5))}, p99 {_ms(percentile(latencies, 0.99))}. "
        f"{outages}Each service pretends to work for {least} to {most} ms."
    )
    for number, kill in enumerate(outcome.stage.kills, start=1):
        console.print(
            f"Kill {number} came after {kill.at_seconds:.1f} s with {kill.in_flight} orders on their way; "
            f"a new engine was ready {kill.back_seconds:.1f} s later."
        )


def _print_example(console: Console, machine: Machine, example: SagaAnswer) -> None:
    states = msgspec.json.decode(example.history.states, type=list[StateEntered])
    events = msgspec.json.decode(example.history.events, type=list[EventApplied])
    begin, tones = parse_timestamp(states[0].timestamp), final_tones(machine)
    _print_heading(console, f"One of them: {example.associated_entity_id}, saga {example.saga_id}")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for entered, applied in zip(states, events, strict=True):
        state = machine.states[StateId(entered.state)]
        command = "" if state.command is None else f"asks for {state.command.label}"
        style = STYLES[tones.get(state.id, "neutral")]
        at_ms = parse_timestamp(entered.timestamp) - begin
        table.add_row(f"{at_ms} ms", applied.event, Text(f"→ {state.id}", style), Text(command, "dim"))
    console.print(table)


def _print_audit(console: Console, outcome: Outcome) -> None:
    found, retries = outcome.audit, outcome.stage.ledger.retries
    _print_heading(console, "Was anything lost, or done twice? What the log says, read from its beginning to its end:")
    if not found.is_clean:
        _print_damage(console, found)
        return
    proofs = [
        f"Nothing was lost: all {found.orders} orders that were taken are there, and all of them are finished.",
        f"Nothing was done twice: {found.commands} commands were sent, exactly one for each state that asks for one.",
    ]
    if retries:
        proofs.append(
            f"{retries} requests met an engine that was dead or not ready; customers asked again with the same "
            "Idempotency-Key, and no order was taken twice."
        )
    for proof in proofs:
        console.print(Text.assemble(("✓ ", "bold green"), proof))


def _print_damage(console: Console, found: Audit) -> None:
    damage = {
        "orders were taken and are not there": found.lost,
        "orders are not finished": found.unfinished,
        "sagas belong to no order, or to two": found.surplus,
        "commands were never sent": [f"{label} of {saga_id}" for saga_id, label in found.missing],
        "commands were sent once too often": [f"{label} of {saga_id}" for saga_id, label in found.doubled],
    }
    for what, which in damage.items():
        if which:
            more = ", ..." if len(which) > _SHOWN_MAX else ""
            text = f"{len(which)} {what}: {', '.join(which[:_SHOWN_MAX])}{more}"
            console.print(Text.assemble(("✗ ", "bold red"), text))


def _print_next(console: Console, drawing: Path, machine_file: Path, *, has_kills: bool) -> None:
    _print_heading(console, "What next")
    program, file = program_name(), shlex.quote(_short_path(machine_file))
    rows = [
        (f"{program} demo --sagas 2000", "more orders than one can watch")
        if has_kills
        else (f"{program} demo --kill", "the same, while the engine is killed twice, without warning"),
        (f"{program} check -f {file}", "a copy of the machine that you have just seen: change it, and check it"),
        (
            f"{program} run -f {file} --embedded",
            "run it yourself; http://127.0.0.1:8080/openapi.json says what it takes",
        ),
    ]
    for command, remark in rows:
        console.print(Text.assemble(f"  {command}", (f"\n      {remark}", "dim")), soft_wrap=True)
    console.print(Text.assemble(f"  {drawing}", ("\n      the drawing, for a browser", "dim")), soft_wrap=True)


def program_name() -> str:
    """How to call us from this shell."""
    if shutil.which("flowmachine") is not None:
        return "flowmachine"
    is_on_path = shutil.which("python") == sys.executable
    return f"{'python' if is_on_path else shlex.quote(_short_path(Path(sys.executable)))} -m flowmachine"


def _short_path(path: Path) -> str:
    """Relative to the current folder if that is shorter."""
    relative = os.path.relpath(path)
    return min(relative, str(path), key=len)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
