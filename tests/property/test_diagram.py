import math
import random
import time
from itertools import combinations
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from flowmachine.diagram import Edge, Graph, Layout, Node, layout, render_mermaid, render_svg, render_text
from flowmachine.diagram.layout import Box
from flowmachine.diagram.typography import clean_text, column_count

ANY_TEXT = st.text(st.characters(), max_size=12) | st.sampled_from(
    ["<&>", '"', "]]>", "a" * 300, "🎉", "日本語", "\x00"]
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    ids = draw(st.lists(ANY_TEXT, max_size=14, unique=True))
    nodes = tuple(
        Node(
            name,
            draw(st.sampled_from(["initial", "normal", "normal", "final"])),
            draw(st.just(name) | ANY_TEXT),
            draw(st.just("") | ANY_TEXT),
            draw(st.sampled_from(["", "7", "123456"])),
            draw(st.sampled_from(["neutral", "good", "bad"])),
            draw(st.just("") | ANY_TEXT),
        )
        for name in ids
    )
    ends = st.sampled_from(ids) if ids else st.nothing()
    counts = st.none() | st.integers(0, 10**7)
    edges = draw(st.lists(st.builds(Edge, ends, ends, ANY_TEXT, counts), max_size=40)) if ids else []
    return Graph(draw(ANY_TEXT), nodes, tuple(edges))


def dense(node_count: int, edge_count: int) -> Graph:
    drawn = random.Random(7)
    nodes = tuple(Node(f"s{index}", "initial" if index == 0 else "normal", f"s{index}") for index in range(node_count))
    ends = [(drawn.randrange(node_count), drawn.randrange(node_count)) for _ in range(edge_count)]
    edges = tuple(Edge(f"s{one}", f"s{other}", f"event{index}") for index, (one, other) in enumerate(ends))
    return Graph("dense", nodes, edges)


def overlap(one: Box, other: Box) -> bool:
    is_apart_x = one.x + one.width <= other.x + 1e-6 or other.x + other.width <= one.x + 1e-6
    is_apart_y = one.y + one.height <= other.y + 1e-6 or other.y + other.height <= one.y + 1e-6
    return not (is_apart_x or is_apart_y)


def assert_sound(graph: Graph, drawing: Layout) -> None:
    assert tuple(placed.node for placed in drawing.nodes) == graph.nodes
    assert sorted(map(repr, (edge for placed in drawing.edges for edge in placed.edges))) == sorted(
        map(repr, graph.edges)
    )
    boxes = [placed.box for placed in drawing.nodes] + [edge.label for edge in drawing.edges if edge.lines]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    for box in boxes:
        assert -1e-6 <= box.x <= box.x + box.width <= drawing.width + 1e-6
        assert -1e-6 <= box.y <= box.y + box.height <= drawing.height + 1e-6
    ends = {placed.node.id: placed.box for placed in drawing.nodes}
    for edge in drawing.edges:
        points = [edge.path.start, edge.path.tip, *(point for stroke in edge.path.strokes for point in stroke)]
        for x, y in points:
            assert math.isfinite(x)
            assert math.isfinite(y)
            assert -1e-6 <= x <= drawing.width + 1e-6
            assert -1e-6 <= y <= drawing.height + 1e-6
        assert touches(ends[edge.edges[0].source], edge.path.start)
        assert touches(ends[edge.edges[0].target], edge.path.tip)


def touches(box: Box, point: tuple[float, float]) -> bool:
    """Whether the point lies on the edge of the box."""
    x, y = point[0] - box.x, point[1] - box.y
    is_inside = -1e-6 <= x <= box.width + 1e-6 and -1e-6 <= y <= box.height + 1e-6
    return is_inside and min(abs(x), abs(y), abs(x - box.width), abs(y - box.height)) < 1e-6


def sampled(
    path_start: tuple[float, float], strokes: tuple[tuple[tuple[float, float], ...], ...]
) -> list[tuple[float, float]]:
    points, here = [], path_start
    for stroke in strokes:
        control = (here, *stroke) if len(stroke) == 3 else (here, here, stroke[0], stroke[0])
        for step in range(11):
            t = step / 10
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            points.append(tuple(sum(w * p[axis] for w, p in zip(weights, control, strict=True)) for axis in (0, 1)))
        here = stroke[-1]
    return points  # type: ignore[return-value]


def assert_lines_avoid_nodes(drawing: Layout) -> None:
    for edge in drawing.edges:
        ends = {edge.edges[0].source, edge.edges[0].target}
        others = [placed.box for placed in drawing.nodes if placed.node.id not in ends]
        others += [other.label for other in drawing.edges if other is not edge and other.lines]
        for x, y in sampled(edge.path.start, edge.path.strokes):
            assert not [
                box
                for box in others
                if box.x < x - 1e-6 < box.x + box.width - 2e-6 and box.y < y - 1e-6 < box.y + box.height - 2e-6
            ]


@given(graphs())
def test_layout_shows_everything_once_and_nothing_overlaps(graph: Graph) -> None:
    drawing = layout(graph)
    assert_sound(graph, drawing)
    assert_lines_avoid_nodes(drawing)
    assert layout(graph) == drawing


@given(graphs())
def test_svg_is_xml_and_names_every_state_and_event(graph: Graph) -> None:
    svg = render_svg(graph)
    root = ElementTree.fromstring(svg.encode("utf-8"))  # noqa: S314  our own output
    tooltips = "\n".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title"))
    for node in graph.nodes:
        assert clean_text(node.title or node.id) in tooltips
    for edge in graph.edges:
        assert clean_text(edge.label) in tooltips
    assert render_svg(graph) == svg


@given(graphs())
def test_mermaid_has_one_line_for_each_state_and_each_pair(graph: Graph) -> None:
    lines = render_mermaid(graph).splitlines()
    assert sum(line.startswith("    state ") for line in lines) == len(graph.nodes)
    pairs = {(edge.source, edge.target) for edge in graph.edges}
    marks = sum(node.kind in {"initial", "final"} for node in graph.nodes)
    assert (
        sum(" --> " in line.partition(" : ")[0] for line in lines if not line.startswith("    state "))
        == len(pairs) + marks
    )


@given(graphs(), st.integers(1, 120))
def test_text_has_one_line_for_each_state_and_event_within_the_width(graph: Graph, width: int) -> None:
    lines = render_text(graph, width).splitlines()
    assert all(column_count(line) <= max(width, 24) for line in lines)
    assert sum(line.startswith(("● ", "○ ", "◉ ", "✓ ", "✗ ")) for line in lines) >= len(graph.nodes)
    assert sum(line.startswith(("├─ ", "└─ ", "│", "▼")) for line in lines) >= len(graph.edges)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(60, 60), (60, 180), (30, 200), (60, 30)]))
def test_dense_graphs_are_sound(sizes: tuple[int, int]) -> None:
    graph = dense(*sizes)
    drawing = layout(graph)
    assert_sound(graph, drawing)
    assert_lines_avoid_nodes(drawing)


def test_large_graph_is_drawn_in_time() -> None:
    graph = dense(200, 800)
    started = time.process_time()
    svg = render_svg(graph)
    assert time.process_time() - started < 3
    ElementTree.fromstring(svg)  # noqa: S314  our own output
