"""How sagas look on a terminal. What comes from sagas is cleaned: it is somebody else's text."""

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Final

from rich.text import Text

from flowmachine.cli.sagas.client import EventEntry, SagaView, StateEntry
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.diagram.typography import clean_text, column_count, fit_columns
from flowmachine.wire.listing import SagaSummary

HEADINGS: Final = ("SAGA", "STATE", "BUSINESS STATE", "ENTITY", "LATEST EVENT", "AGE", "UNCHANGED")
_NARROWEST: Final = 8
_GAP: Final = "  "
_STATE_COLUMN: Final = 1
_SECOND, _MINUTE, _HOUR, _DAY = 1, 60, 3600, 86400


def saga_row(saga: SagaSummary, now_ms: int) -> tuple[str, ...]:
    """The cells of one saga."""
    return (
        saga.saga_id,
        saga.current_state,
        saga.business_state_description or str(saga.business_state_id),
        saga.associated_entity_id,
        saga.latest_event,
        age(saga.created_at, now_ms),
        age(saga.updated_at, now_ms),
    )


def age(timestamp: str, now_ms: int) -> str:
    """How long ago, in one unit: `45s`, `12m`, `5h`, `3d`."""
    try:
        seconds = max(0, now_ms - parse_timestamp(timestamp)) // 1000
    except ValueError:  # empty, where a saga came from another program
        return "?"
    for unit, size, shown_until in (("s", _SECOND, 2 * _MINUTE), ("m", _MINUTE, 2 * _HOUR), ("h", _HOUR, 2 * _DAY)):
        if seconds < shown_until:
            return f"{seconds // size}{unit}"
    return f"{seconds // _DAY}d"


def column_widths(rows: Sequence[Sequence[str]], columns_max: int | None) -> list[int]:
    """As wide as needed; with `columns_max` the widest ones are narrowed, other than the ids, which people copy."""
    widths = [max(column_count(clean_text(cell)) for cell in column) for column in zip(HEADINGS, *rows, strict=True)]
    if columns_max is not None:
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns_max
        while excess > 0 and max(widths[1:]) > _NARROWEST:
            widest = max(range(1, len(widths)), key=widths.__getitem__)
            widths[widest] -= 1
            excess -= 1
    return widths


def table_line(cells: Sequence[str], widths: Sequence[int], *, style: str = "", state_style: str = "") -> Text:
    """One line of a table; the last column is not padded."""
    line = Text(style=style)
    for position, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        shown = clean_text(cell) if position == 0 else fit_columns(cell, width)
        padding = "" if position == len(widths) - 1 else " " * (width - column_count(shown)) + _GAP
        line.append(shown, state_style if position == _STATE_COLUMN else "")
        line.append(padding)
    return line


def state_style(saga: SagaSummary | SagaView) -> str:
    """Finished ones are green."""
    return "green" if saga.is_final else "cyan"


def saga_lines(saga: SagaView, now_ms: int) -> Iterable[Text]:
    """A saga, whole."""
    finished = "finished" if saga.is_final else "under way"
    yield Text.assemble(
        (clean_text(saga.saga_id), "bold"), "  ", (clean_text(saga.current_state), state_style(saga)), f"  {finished}"
    )
    yield _fact("entity", saga.associated_entity_id)
    yield _fact("business state", f"{saga.business_state_id}  {saga.business_state_description}")
    yield _fact("created", f"{saga.created_at}  {age(saga.created_at, now_ms)} ago")
    yield _fact("changed", f"{saga.updated_at}  {age(saga.updated_at, now_ms)} ago")
    yield _fact("changes", f"{saga.seq}, machine revision {saga.revision or 'unknown'}")
    for pending in saga.outbox:
        said = f"failed for good: {pending.failure}" if pending.failure else "waits for a 2xx answer"
        yield _fact("command", f"{pending.label} over channel {pending.channel} {said}", style="yellow")
    for held in saga.held:
        yield _fact("held event", f"{held.label}, received {held.received_at}", style="yellow")
    yield Text("history", "bold")
    yield from timeline(saga.history.states, saga.history.events)
    yield Text("metadata", "bold")
    metadata = json.dumps(json.loads(bytes(saga.metadata)), indent=2, ensure_ascii=False)
    yield from (Text(f"  {_visible(line)}") for line in metadata.splitlines())


def timeline(states: Sequence[StateEntry], events: Sequence[EventEntry], *, shown: int = 0) -> Iterable[Text]:
    """A line for every step from `shown` on: when, how long after the one before, which event, which state."""
    width = max((column_count(clean_text(entry.event)) for entry in events), default=0)
    before_ms: int | None = None
    for number, (state, event) in enumerate(zip_longest(states, events)):
        entry = state or event
        if entry is None:
            continue
        at_ms = _milliseconds(entry.timestamp)
        after = "" if at_ms is None or before_ms is None else f"+{_lapse(at_ms - before_ms)}"
        before_ms = at_ms
        if number < shown:
            continue
        label = clean_text(event.event) if event is not None else ""
        line = Text.assemble(
            (f"  {clean_text(entry.timestamp)}", "dim"),
            (f" {after:>9}  ", "dim"),
            label,
            " " * (width - column_count(label)),
        )
        if state is not None:
            line.append(f"  → {clean_text(state.state)}", "bold")
            if state.business_state_description:
                line.append(f"  ({clean_text(state.business_state_description)})", "dim")
        yield line


def _fact(name: str, value: str, style: str = "") -> Text:
    return Text.assemble((f"  {name:<15}", "dim"), (clean_text(value), style))


def _visible(line: str) -> str:
    """The line with its indentation, and without characters that would move the cursor."""
    stripped = line.lstrip(" ")
    return " " * (len(line) - len(stripped)) + clean_text(stripped)


def _milliseconds(timestamp: str) -> int | None:
    try:
        return parse_timestamp(timestamp)
    except ValueError:
        return None


def _lapse(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    if seconds < _MINUTE:
        return f"{seconds:.3f}s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.1f}m"
    return f"{seconds / _HOUR:.1f}h" if seconds < 2 * _DAY else f"{seconds / _DAY:.1f}d"
