"""A picture of results: the engine beside what it is compared with, two bars for each figure.

`python -m bench.picture bench-results/A.jsonl [B.jsonl ...] > docs/performance.svg`; of a figure that stands in several
files the last counts. Every run also leaves the picture of its own figures beside its file.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, LEFT, ROW_HEIGHT, BAR_HEIGHT = 800, 310, 62, 18
BAR_WIDTH_MAX = WIDTH - LEFT - 190
_STYLE = """text { font: 13px system-ui, sans-serif; fill: #24292f }
.what { font-weight: 600 } .note { fill: #57606a } .ours { fill: #2f6feb } .other { fill: #afb8c1 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } .other { fill: #656c76 } }"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two figures of the same kind: ours, and the one that it is held against."""

    title: str
    unit: str
    ours: str
    ours_text: str
    other: str
    other_text: str


def _against(title: str, unit: str, ours: str, other: str, other_text: str) -> Pair:
    return Pair(title, unit, ours, "engine", other, other_text)


PAIRS = (
    _against("Events per second", "", "throughput.engine", "throughput.passthrough", "pass-through"),
    _against("Events per second, 2 processes", "", "throughput.engine_2", "throughput.passthrough_2", "pass-through"),
    _against(
        "Events per second, a partition each",
        "",
        "throughput.engine_each",
        "throughput.passthrough_each",
        "pass-through",
    ),
    _against("Whole sagas per second, 1 process", "", "loop.engine_1", "loop.floor_1", "hand-written"),
    _against("Whole sagas per second, 2 processes", "", "loop.engine_2", "loop.floor_2", "hand-written"),
    _against("Event to command, median", " ms", "latency.engine_p50", "latency.passthrough_p50", "pass-through"),
    _against("Event to command, 99 of 100", " ms", "latency.engine_p99", "latency.passthrough_p99", "pass-through"),
    Pair(
        "Whole saga at 50 per second, median",
        " ms",
        "journey.exactlyOnce_p50",
        "exactlyOnce",
        "journey.atLeastOnce_p50",
        "atLeastOnce",
    ),
)


def draw(values: Mapping[str, float], *, caption: str) -> str:
    """The SVG text: all pairs of which both figures are there, each to a scale of its own."""
    pairs = [pair for pair in PAIRS if pair.ours in values and pair.other in values]
    height = 30 + ROW_HEIGHT * len(pairs)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img">',
        f"<title>{escape(caption)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    for row, pair in enumerate(pairs):
        lines += _draw_pair(pair, values[pair.ours], values[pair.other], top=8 + ROW_HEIGHT * row)
    lines += [f'<text class="note" x="12" y="{height - 8}">{escape(caption)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"


def _draw_pair(pair: Pair, ours: float, other: float, *, top: int) -> list[str]:
    largest = max(ours, other) or 1.0
    lines = [f'<text class="what" x="12" y="{top + 24}">{escape(pair.title)}</text>']
    for number, (kind, text, value) in enumerate((("ours", pair.ours_text, ours), ("other", pair.other_text, other))):
        y, width = top + number * (BAR_HEIGHT + 4), max(1.0, value / largest * BAR_WIDTH_MAX)
        lines += [
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="3"/>',
            f'<text x="{LEFT + width + 8:.1f}" y="{y + 14}">{value:,.0f}{pair.unit} {escape(text)}</text>',
        ]
    return lines


def read_values(files: Sequence[Path]) -> tuple[dict[str, float], str]:
    """Values by name, and on what machine they were measured."""
    values: dict[str, float] = {}
    caption = ""
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            entry = json.loads(line)
            values[entry["name"]] = entry["value"]
            machine = entry["machine"]
            caption = f"{machine['cores']} cores ({machine['cpu']}), broker and load included; {entry['run'][:10]}"
    return values, caption


if __name__ == "__main__":
    found, where = read_values([Path(name) for name in sys.argv[1:]])
    sys.stdout.write(draw(found, caption=where))
