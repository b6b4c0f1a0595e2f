"""The machine as text for a terminal: its paths one below the other, the way to a good end first.

```
● created  executePayment                  1 284
├─ paymentFailed ─▸ ✗ paymentFailed           23
▼  paymentExecuted                         1 261
○ paymentExecuted  prepareOrder            1 261
```

A state is one line, each transition one line below it. The transition to the state on the next line comes last and has
the arrow that points down; all others name the state they lead to.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flowmachine.diagram.graph import Bundle, Edge, Graph, Node, bundle_edges
from flowmachine.diagram.layers import rank_nodes
from flowmachine.diagram.measures import format_count
from flowmachine.diagram.structure import Structure, long_paths, reachable, successors
from flowmachine.diagram.typography import clean_text, column_count, fit_columns

# Narrower than this nothing useful fits; such a terminal wraps the lines.
_WIDTH_MIN = 24
_COUNT_GAP = 2


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with text on the left and a count on the right; `prefix` is never cut."""

    prefix: str
    text: str
    count: str = ""


def render_text(graph: Graph, width: int) -> str:
    """Lines of at most `width` columns (24 at least), the last one ended; equal graphs give equal texts."""
    lines = list(_lines(graph))
    columns = max(width, _WIDTH_MIN)
    count_columns = max((column_count(line.count) for line in lines), default=0)
    if count_columns:
        count_columns = min(count_columns, columns // 3) + _COUNT_GAP
    text_columns = max((column_count(line.prefix) + column_count(clean_text(line.text)) for line in lines), default=0)
    text_columns = min(text_columns, columns - count_columns)
    heading = f"{len(graph.nodes)} states, {len(graph.edges)} transitions"
    title = fit_columns(graph.title, columns)
    rule = "─" * min(columns, max(text_columns + count_columns, column_count(title), column_count(heading)))
    drawn = [_drawn(line, text_columns, count_columns) for line in lines]
    return "\n".join([*([title] if title else []), fit_columns(heading, columns), rule, *drawn, ""])


def _drawn(line: _Line, text_columns: int, count_columns: int) -> str:
    text = line.prefix + fit_columns(line.text, text_columns - column_count(line.prefix))
    if not line.count:
        return text.rstrip()
    count = fit_columns(line.count, count_columns - _COUNT_GAP)
    padding = text_columns + count_columns - column_count(text) - column_count(count)
    return text + " " * padding + count


def _lines(graph: Graph) -> Iterable[_Line]:
    bundles = bundle_edges(graph)
    outgoing: dict[int, list[Bundle]] = {index: [] for index in range(len(graph.nodes))}
    for bundle in bundles:
        outgoing[bundle.source].append(bundle)
    paths = _reading_paths(graph, bundles)
    ends = [path[0] for path in paths if len(path) == 1 and not outgoing[path[0]]]
    is_first = True
    for path in paths:
        if path[0] in ends and len(path) == 1:
            continue
        if not is_first:
            yield _Line("", "")
        is_first = False
        for index, node in enumerate(path):
            following = path[index + 1] if index + 1 < len(path) else None
            yield _state_line(graph.nodes[node])
            yield from _transition_lines(graph, outgoing[node], following)
    if ends and not is_first:
        yield _Line("", "")
    yield from (_state_line(graph.nodes[node]) for node in ends)


def _reading_paths(graph: Graph, bundles: Iterable[Bundle]) -> list[list[int]]:
    """Paths that cover all states, each in the direction of its transitions, in the order met from the start."""
    structure = Structure(
        size=len(graph.nodes),
        links=tuple((bundle.source, bundle.target) for bundle in bundles if bundle.source != bundle.target),
        roots=tuple(index for index, node in enumerate(graph.nodes) if node.kind == "initial"),
        goals=tuple(index for index, node in enumerate(graph.nodes) if node.kind == "final" and node.tone == "good"),
    )
    following = successors(structure.size, structure.links)
    pieces: list[list[int]] = []
    for path in long_paths(structure, rank_nodes(structure).order):
        pieces.extend(_in_direction(path, following))
    met = reachable(following, structure.roots)
    place = {
        node: index
        for index, node in enumerate([*met, *(node for node in range(structure.size) if node not in set(met))])
    }
    return sorted(pieces, key=lambda piece: min(place[node] for node in piece))


def _in_direction(path: list[int], following: list[list[int]]) -> Iterable[list[int]]:
    """A path of the drawing may run against transitions that point up: such stretches are turned round."""
    piece = path[:1]
    is_forward: bool | None = None
    for node in path[1:]:
        step = node in following[piece[-1]]
        if is_forward is None or step == is_forward:
            piece.append(node)
            is_forward = step
        else:
            yield piece if is_forward else piece[::-1]
            piece, is_forward = [node], None
    if piece:
        yield piece if is_forward is not False else piece[::-1]


def _transition_lines(graph: Graph, bundles: list[Bundle], following: int | None) -> Iterable[_Line]:
    aside = [(edge, bundle.target) for bundle in bundles if bundle.target != following for edge in bundle.edges]
    ahead = [edge for bundle in bundles if bundle.target == following for edge in bundle.edges]
    for index, (edge, target) in enumerate(aside):
        corner = "└─ " if following is None and index == len(aside) - 1 else "├─ "
        name = _name(graph.nodes[target])
        arrow = f"↺ {name}" if graph.nodes[target].id == edge.source else f"─▸ {_mark(graph.nodes[target])} {name}"
        yield _Line(corner, f"{edge.label} {arrow}".strip(), _count(edge))
    for index, edge in enumerate(ahead):
        yield _Line("▼  " if index == len(ahead) - 1 else "│  ", edge.label, _count(edge))


def _state_line(node: Node) -> _Line:
    command = f"  [{node.subtitle}]" if node.subtitle else ""
    return _Line(f"{_mark(node)} ", f"{_name(node)}{command}", clean_text(node.badge))


def _mark(node: Node) -> str:
    if node.kind != "final":
        return "●" if node.kind == "initial" else "○"
    return {"good": "✓", "bad": "✗", "neutral": "◉"}[node.tone]


def _name(node: Node) -> str:
    return clean_text(node.title) or clean_text(node.id) or "-"


def _count(edge: Edge) -> str:
    return "" if edge.count is None else format_count(edge.count)
