"""The drawing as one self-contained SVG file: no scripts, no outside fonts, readable on light and dark pages.

Lines are painted first, then nodes, then labels, so a label is never hidden. Tooltips hold the full texts. Every text
is cleaned and escaped here, at the only places where it enters the file.
"""

from collections.abc import Iterable, Sequence
from html import escape
from math import log1p
from zlib import crc32

from flowmachine.diagram.graph import Edge, Graph, Node
from flowmachine.diagram.layout import Box, Layout, PlacedEdge, PlacedNode, PlacedStart, layout
from flowmachine.diagram.measures import (
    BADGE_GAP,
    BADGE_PADDING,
    BADGE_SIZE,
    COUNT_GAP,
    COUNT_PADDING,
    COUNT_SIZE,
    LABEL_LINE_HEIGHT,
    LABEL_PADDING,
    LABEL_SIZE,
    START_RADIUS,
    TITLE_SIZE,
    LabelLine,
    pill_width,
)
from flowmachine.diagram.routing import ARROW_LENGTH, Path
from flowmachine.diagram.structure import reachable, successors
from flowmachine.diagram.svg_style import style_sheet
from flowmachine.diagram.typography import clean_text, fit_text, text_width

_MARGIN = 28.0
_HEADING_HEIGHT = 34.0
_HEADING_SIZE = 16.0
_HEADING_WIDTH_MAX = 640.0
_ARROW_HALF_WIDTH = 3.6
_LINE_WIDTH = 1.3
# The busiest line is this much wider than one never taken: enough to see the main way, not enough to shout.
_LINE_WIDTH_GROWTH = 1.8


def render_svg(graph: Graph) -> str:
    """The SVG text; equal graphs give equal texts, and any text in the graph is shown as it is, never interpreted."""
    drawing = layout(graph)
    heading = fit_text(graph.title, max(_HEADING_WIDTH_MAX, drawing.width), _HEADING_SIZE, "bold")
    top = _MARGIN + (_HEADING_HEIGHT if heading else 0.0)
    width = max(drawing.width, text_width(heading, _HEADING_SIZE, "bold")) + 2 * _MARGIN
    height = top + drawing.height + _MARGIN
    left = (width - drawing.width) / 2
    size = f"{_number(width)} {_number(height)}"
    name = f"fm{crc32(repr(graph).encode('utf-8', 'backslashreplace')):08x}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
        f'width="{_number(width)}" height="{_number(height)}" '
        f'role="img" aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{_escaped(graph.title) or "State machine"}</title>',
        f'<desc id="{name}-desc">{_description(graph)}</desc>',
        f"<style>\n{style_sheet()}\n</style>",
        f'<rect class="fm-page" width="{_number(width)}" height="{_number(height)}" rx="10"/>',
    ]
    if heading:
        place = f'x="{_number(_MARGIN)}" y="{_number(_MARGIN + 12)}"'
        lines.append(f'<text class="fm-heading" {place}>{escape(heading, quote=False)}</text>')
    lines.append(f'<g transform="translate({_number(left)} {_number(top)})">')
    lines.extend(_drawing(graph, drawing))
    lines.extend(("</g>", "</svg>", ""))
    return "\n".join(lines)


def _drawing(graph: Graph, drawing: Layout) -> Iterable[str]:
    tones = {node.id: node.tone for node in graph.nodes}
    count_max = max((edge.count or 0 for edge in drawing.edges), default=0)
    quiet_first = sorted(drawing.edges, key=lambda edge: edge.count or 0)
    for edge in quiet_first:
        yield _edge(edge, "fm-edge fm-to-bad" if tones[edge.edges[0].target] == "bad" else "fm-edge", count_max)
    for start in drawing.starts:
        yield _start(start)
    lonely = _unreachable_ids(graph)
    for node in drawing.nodes:
        yield _node(node, is_reachable=node.node.id not in lonely)
    for edge in drawing.edges:
        if edge.lines:
            yield _label(edge)


def _unreachable_ids(graph: Graph) -> set[str]:
    """States no path leads to; without an initial state nothing can be said, so none."""
    position = {node.id: index for index, node in enumerate(graph.nodes)}
    roots = [index for index, node in enumerate(graph.nodes) if node.kind == "initial"]
    if not roots:
        return set()
    following = successors(len(graph.nodes), ((position[edge.source], position[edge.target]) for edge in graph.edges))
    found = set(reachable(following, roots))
    return {node.id for index, node in enumerate(graph.nodes) if index not in found}


def _description(graph: Graph) -> str:
    initial = [node.title or node.id for node in graph.nodes if node.kind == "initial"]
    final = [node.title or node.id for node in graph.nodes if node.kind == "final"]
    text = f"State machine with {len(graph.nodes)} states and {len(graph.edges)} transitions."
    if initial:
        text += f" It starts in {', '.join(initial)}."
    if final:
        text += f" It ends in {', '.join(final)}."
    return _escaped(text)


def _edge(edge: PlacedEdge, classes: str, count_max: int) -> str:
    width = _LINE_WIDTH
    if edge.count is not None and edge.count > 0 and count_max > 0:
        width += _LINE_WIDTH_GROWTH * log1p(edge.count) / log1p(count_max)
    return (
        f'<g class="{classes}"><title>{_edge_tooltip(edge.edges)}</title>'
        f'<path class="fm-line" stroke-width="{_number(width)}" d="{_path_data(edge.path)}"/>'
        f'<path class="fm-arrow" d="{_arrow_data(edge.path, 1 + (width - _LINE_WIDTH) / 3)}"/></g>'
    )


def _start(start: PlacedStart) -> str:
    return (
        f'<g><circle class="fm-start" cx="{_number(start.x)}" cy="{_number(start.y)}" r="{_number(START_RADIUS)}"/>'
        f'<path class="fm-start-line" d="{_path_data(start.path)}"/>'
        f'<path class="fm-start" d="{_arrow_data(start.path, 1)}"/></g>'
    )


def _node(placed: PlacedNode, *, is_reachable: bool) -> str:
    node, box, fitted = placed.node, placed.box, placed.fitted
    dashes = "" if is_reachable else ' stroke-dasharray="4 3"'
    parts = [
        f'<g class="fm-node fm-{node.tone}"><title>{_node_tooltip(node, is_reachable=is_reachable)}</title>',
        f'<rect class="fm-box" {_rectangle(box, 0)} rx="9"{dashes}/>',
    ]
    if node.kind == "final":
        parts.append(f'<rect class="fm-inner" {_rectangle(box, 3)} rx="6.5"{dashes}/>')
    middle, title_width = box.x + box.width / 2, text_width(fitted.title, TITLE_SIZE, "bold")
    pill = BADGE_GAP + pill_width(fitted.badge, BADGE_SIZE, BADGE_PADDING) if fitted.badge else 0.0
    title_x, base = middle - pill / 2, box.y + box.height / 2 + (-3.0 if fitted.subtitle else 5.0)
    parts.append(_text("fm-title", title_x, base, fitted.title))
    if fitted.badge:
        left = title_x + title_width / 2 + BADGE_GAP
        parts.append(_pill(fitted.badge, left, base - 5.0, BADGE_SIZE, BADGE_PADDING, "fm-pill-text"))
    if fitted.subtitle:
        parts.append(_text("fm-command", middle, base + 16.0, fitted.subtitle))
    return "".join(parts) + "</g>"


def _label(edge: PlacedEdge) -> str:
    """Lines of a label stand centred on their edge, those of a loop begin beside it."""
    box = edge.label
    is_loop = edge.edges[0].source == edge.edges[0].target
    parts = [
        f'<g class="fm-event"><title>{_edge_tooltip(edge.edges)}</title>',
        f'<rect class="fm-halo" {_rectangle(box, 0)} rx="5"/>',
    ]
    for index, line in enumerate(edge.lines):
        middle = box.y + 1.0 + (index + 0.5) * LABEL_LINE_HEIGHT
        slack = box.width - line.width
        left = box.x + (LABEL_PADDING if is_loop else slack / 2)
        parts.extend(_label_line(line, left, middle))
    return "".join(parts) + "</g>"


def _label_line(line: LabelLine, left: float, middle: float) -> Iterable[str]:
    width = text_width(line.text, LABEL_SIZE, "sans")
    if line.text:
        yield _text("fm-label", left + width / 2, middle + 4.0, line.text)
    if line.count:
        pill_left = left + width + (COUNT_GAP if line.text else 0.0)
        yield _pill(line.count, pill_left, middle, COUNT_SIZE, COUNT_PADDING, "fm-count")


def _pill(text: str, left: float, middle: float, size: float, padding: float, text_class: str) -> str:
    width, height = pill_width(text, size, padding), size + 4.0
    box = Box(left, middle - height / 2, width, height)
    rectangle = f'<rect class="fm-pill" {_rectangle(box, 0)} rx="{_number(height / 2)}"/>'
    return rectangle + _text(text_class, left + width / 2, middle + size * 0.36, text)


def _text(text_class: str, x: float, y: float, text: str) -> str:
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<text class="{text_class}" {place} text-anchor="middle">{escape(text, quote=False)}</text>'


def _node_tooltip(node: Node, *, is_reachable: bool) -> str:
    command = f"command: {node.subtitle}" if node.subtitle else ""
    count = f"count: {node.badge}" if node.badge else ""
    name = node.title if not node.title or node.title == node.id else f"{node.title} ({node.id})"
    remark = "" if is_reachable else "cannot be reached from the initial state"
    texts = [name or node.id, command, count, *node.details.splitlines(), remark]
    return "\n".join(_escaped(text) for text in texts if clean_text(text))


def _edge_tooltip(edges: Sequence[Edge]) -> str:
    texts = [f"{edges[0].source} \u2192 {edges[0].target}"]
    texts.extend(edge.label if edge.count is None else f"{edge.label}: {edge.count}" for edge in edges)
    return "\n".join(_escaped(text) for text in texts if clean_text(text))


def _escaped(text: str) -> str:
    return escape(clean_text(text), quote=False)


def _path_data(path: Path) -> str:
    strokes = (("L" if len(stroke) == 1 else "C") + " ".join(map(_point, stroke)) for stroke in path.strokes)
    return f"M{_point(path.start)}{''.join(strokes)}"


def _arrow_data(path: Path, scale: float) -> str:
    (x, y), (dx, dy) = path.tip, path.heading
    half = _ARROW_HALF_WIDTH * scale
    back_x, back_y = x - dx * ARROW_LENGTH * scale, y - dy * ARROW_LENGTH * scale
    left, right = (back_x - dy * half, back_y + dx * half), (back_x + dy * half, back_y - dx * half)
    return f"M{_point(path.tip)}L{_point(left)}L{_point(right)}Z"


def _rectangle(box: Box, inset: float) -> str:
    x, y, width, height = box.x + inset, box.y + inset, box.width - 2 * inset, box.height - 2 * inset
    return f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}"'


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    """One digit after the point at most, and no minus before zero."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text
