"""How big things are: font sizes, paddings, and the boxes that texts need.

All numbers are pixels. The SVG output draws with the same numbers, so they stand here once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowmachine.diagram.graph import Edge, Node
from flowmachine.diagram.typography import fit_text, text_width

TITLE_SIZE = 14.0
SUBTITLE_SIZE = 11.0
BADGE_SIZE = 11.0
BADGE_PADDING = 6.0
BADGE_GAP = 8.0
LABEL_SIZE = 11.5
LABEL_LINE_HEIGHT = 16.0
LABEL_PADDING = 4.0
COUNT_SIZE = 10.0
COUNT_PADDING = 4.0
COUNT_GAP = 5.0
START_RADIUS = 6.0
LOOP_WIDTH = 24.0
LOOP_LABEL_GAP = 4.0

_NODE_PADDING = 14.0
_NODE_WIDTH_MIN = 76.0
_NODE_HEIGHT = 36.0
_NODE_HEIGHT_SUBTITLE = 50.0
# Wide enough for about thirty characters: longer texts are cut, and the tooltip has them in full.
_TEXT_WIDTH_MAX = 220.0
_LABEL_WIDTH_MAX = 180.0
_BADGE_WIDTH_MAX = 90.0
# A bundle with more events than this shows the first ones and how many more there are; the tooltip has them all.
_LABEL_LINES_MAX = 6
_GROUPED_MIN = 10_000


@dataclass(frozen=True, slots=True)
class FittedNode:
    """The texts of a node as they fit, and the size of its box."""

    title: str
    subtitle: str
    badge: str
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One event on an edge and its count, each empty when there is none; `width` is that of both."""

    text: str
    count: str
    width: float


def fit_node(node: Node) -> FittedNode:
    """The texts of a node cut to the width a box may have; the id stands in for a missing title."""
    title = fit_text(node.title or node.id, _TEXT_WIDTH_MAX, TITLE_SIZE, "bold")
    subtitle = fit_text(node.subtitle, _TEXT_WIDTH_MAX, SUBTITLE_SIZE, "mono")
    badge = fit_text(node.badge, _BADGE_WIDTH_MAX, BADGE_SIZE, "sans")
    first = text_width(title, TITLE_SIZE, "bold")
    if badge:
        first += BADGE_GAP + pill_width(badge, BADGE_SIZE, BADGE_PADDING)
    width = max(first, text_width(subtitle, SUBTITLE_SIZE, "mono")) + 2 * _NODE_PADDING
    return FittedNode(
        title, subtitle, badge, max(_NODE_WIDTH_MIN, width), _NODE_HEIGHT_SUBTITLE if subtitle else _NODE_HEIGHT
    )


def label_lines(edges: Sequence[Edge]) -> tuple[LabelLine, ...]:
    """One line for each edge that has something to show, and a last one for those beyond the limit."""
    shown = edges if len(edges) <= _LABEL_LINES_MAX else edges[: _LABEL_LINES_MAX - 1]
    lines = [_label_line(edge.label, edge.count) for edge in shown if edge.label or edge.count is not None]
    hidden = edges[len(shown) :]
    if hidden:
        counts = [edge.count for edge in hidden if edge.count is not None]
        lines.append(_label_line(f"+ {len(hidden)} more", sum(counts) if counts else None))
    return tuple(lines)


def label_size(lines: Sequence[LabelLine]) -> tuple[float, float]:
    """Width and height of a label box; nothing when there is no text at all."""
    if not lines:
        return 0.0, 0.0
    return max(line.width for line in lines) + 2 * LABEL_PADDING, len(lines) * LABEL_LINE_HEIGHT + 2.0


def pill_width(text: str, size: float, padding: float) -> float:
    """The width of a rounded box round a short text."""
    return max(text_width(text, size, "sans") + 2 * padding, size * 1.6)


def format_count(count: int) -> str:
    """The count, with spaces between groups of three digits when it has more than four."""
    return str(count) if abs(count) < _GROUPED_MIN else f"{count:,}".replace(",", " ")


def _label_line(label: str, count: int | None) -> LabelLine:
    text = fit_text(label, _LABEL_WIDTH_MAX, LABEL_SIZE, "sans")
    width = text_width(text, LABEL_SIZE, "sans")
    if count is None:
        return LabelLine(text, "", width)
    shown = fit_text(format_count(count), _BADGE_WIDTH_MAX, COUNT_SIZE, "sans")
    gap = COUNT_GAP if text else 0.0
    return LabelLine(text, shown, width + gap + pill_width(shown, COUNT_SIZE, COUNT_PADDING))
