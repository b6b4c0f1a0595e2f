"""From a graph to positions: nodes, labels and lines, all in pixels from the upper left corner.

1. Texts are shortened and measured, which gives the boxes.
2. Each connected part is laid out by itself: rows, order in the rows, columns (see the package for the modules).
3. The parts are set side by side, in several lines when there are many.
4. Lines are routed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from flowmachine.diagram.cells import Extent, Sizes, build_grid
from flowmachine.diagram.coordinates import place_columns
from flowmachine.diagram.graph import Bundle, Edge, Graph, Node, bundle_edges
from flowmachine.diagram.layers import rank_nodes
from flowmachine.diagram.measures import (
    LOOP_LABEL_GAP,
    LOOP_WIDTH,
    START_RADIUS,
    FittedNode,
    LabelLine,
    fit_node,
    label_lines,
    label_size,
)
from flowmachine.diagram.ordering import order_rows
from flowmachine.diagram.routing import Path, Placement, free_sides, route_grid, route_loop, stack_rows
from flowmachine.diagram.structure import Structure, connected_parts

_PART_GAP = 48.0
_ASPECT_WANTED = 1.6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle by its upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node, its texts as they fit, and its box."""

    node: Node
    fitted: FittedNode
    box: Box


@dataclass(frozen=True, slots=True)
class PlacedEdge:
    """All edges between two nodes: one line, and one label with a line for each edge."""

    edges: tuple[Edge, ...]
    count: int | None
    path: Path
    label: Box
    lines: tuple[LabelLine, ...]


@dataclass(frozen=True, slots=True)
class PlacedStart:
    """The mark before an initial node: the centre of the dot and the line from it."""

    node_id: str
    x: float
    y: float
    path: Path


@dataclass(frozen=True, slots=True)
class Layout:
    """A whole drawing of the given size; nodes stand in the order of the graph, edges in the order of their bundles."""

    width: float
    height: float
    nodes: tuple[PlacedNode, ...]
    edges: tuple[PlacedEdge, ...]
    starts: tuple[PlacedStart, ...]


@dataclass(frozen=True, slots=True)
class _Measured:
    """The whole graph with all texts measured; `lines` has one entry for each bundle."""

    graph: Graph
    bundles: tuple[Bundle, ...]
    fitted: tuple[FittedNode, ...]
    lines: tuple[tuple[LabelLine, ...], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """One connected part, placed from its own corner; `members`, `links` and `loops` are positions in the whole."""

    members: list[int]
    links: list[int]
    loops: list[int]
    placement: Placement
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What has been placed so far, by position in the whole."""

    nodes: dict[int, PlacedNode]
    edges: dict[int, PlacedEdge]
    starts: dict[int, PlacedStart]


def layout(graph: Graph) -> Layout:
    """The positions of everything; equal graphs get equal layouts, no two boxes overlap."""
    bundles = bundle_edges(graph)
    fitted = tuple(fit_node(node) for node in graph.nodes)
    measured = _Measured(graph, bundles, fitted, tuple(label_lines(bundle.edges) for bundle in bundles))
    ends = [(bundle.source, bundle.target) for bundle in bundles]
    parts = [_place_part(measured, members) for members in connected_parts(len(graph.nodes), ends)]
    drawn = _Drawn({}, {}, {})
    width = height = 0.0
    for part, (left, top) in zip(parts, _pack(parts), strict=True):
        _draw_part(measured, _moved(part, left, top), drawn)
        width, height = max(width, left + part.width), max(height, top + part.height)
    return Layout(
        width=width,
        height=height,
        nodes=tuple(drawn.nodes[index] for index in range(len(graph.nodes))),
        edges=tuple(drawn.edges[index] for index in range(len(bundles))),
        starts=tuple(drawn.starts[index] for index in sorted(drawn.starts)),
    )


def _place_part(measured: _Measured, members: list[int]) -> _Part:
    local = {node: index for index, node in enumerate(members)}
    mine = [index for index, bundle in enumerate(measured.bundles) if bundle.source in local]
    loops = [index for index in mine if measured.bundles[index].source == measured.bundles[index].target]
    links = [index for index in mine if measured.bundles[index].source != measured.bundles[index].target]
    nodes = [measured.graph.nodes[node] for node in members]
    structure = Structure(
        size=len(members),
        links=tuple((local[measured.bundles[index].source], local[measured.bundles[index].target]) for index in links),
        roots=tuple(index for index, node in enumerate(nodes) if node.kind == "initial"),
        goals=tuple(index for index, node in enumerate(nodes) if node.kind == "final" and node.tone == "good"),
    )
    grid = build_grid(structure, rank_nodes(structure), _sizes(measured, members, links, loops))
    rows = order_rows(grid)
    x = place_columns(grid, rows)
    node_sizes = [(measured.fitted[node].width, measured.fitted[node].height) for node in members]
    sides = free_sides(grid, rows, x, node_sizes)
    bands = stack_rows(grid, rows, x, sides)
    left = min(at - cell.extent.left for at, cell in zip(x, grid.cells, strict=True))
    right = max(at + cell.extent.right for at, cell in zip(x, grid.cells, strict=True))
    used = [bands[cell.row] for cell in grid.cells]
    top, bottom = min(band[0] for band in used), max(band[1] for band in used)
    placement = Placement(grid, rows, x, bands, node_sizes, sides)
    return _moved(_Part(members, links, loops, placement, right - left, bottom - top), -left, -top)


def _sizes(measured: _Measured, members: Sequence[int], links: Sequence[int], loops: Sequence[int]) -> Sizes:
    loop_sizes = {measured.bundles[index].source: label_size(measured.lines[index]) for index in loops}
    nodes: list[Extent] = []
    for node in members:
        half, height = measured.fitted[node].width / 2, measured.fitted[node].height
        if node in loop_sizes:
            loop_width, loop_height = loop_sizes[node]
            nodes.append(Extent(half, half + LOOP_WIDTH + LOOP_LABEL_GAP + loop_width, max(height, loop_height)))
        else:
            nodes.append(Extent(half, half, height))
    labels = [label_size(measured.lines[index]) for index in links]
    return Sizes(
        nodes=tuple(nodes),
        labels=tuple(Extent(width / 2, width / 2, height) for width, height in labels),
        start=Extent(START_RADIUS, START_RADIUS, 2 * START_RADIUS),
    )


def _pack(parts: Sequence[_Part]) -> list[tuple[float, float]]:
    """The upper left corner of each part: side by side, a new line when the drawing would become too wide."""
    area = sum((part.width + _PART_GAP) * (part.height + _PART_GAP) for part in parts)
    width_max = max([sqrt(area * _ASPECT_WANTED), *(part.width for part in parts)])
    corners: list[tuple[float, float]] = []
    left = top = lowest = 0.0
    for part in parts:
        if left > 0 and left + part.width > width_max:
            left, top = 0.0, lowest + _PART_GAP
        corners.append((left, top))
        left += part.width + _PART_GAP
        lowest = max(lowest, top + part.height)
    return corners


def _moved(part: _Part, right: float, down: float) -> _Part:
    old = part.placement
    bands = [(top + down, bottom + down) for top, bottom in old.bands]
    return replace(part, placement=replace(old, x=[x + right for x in old.x], bands=bands))


def _draw_part(measured: _Measured, part: _Part, drawn: _Drawn) -> None:
    placement, local = part.placement, {node: index for index, node in enumerate(part.members)}
    for node, index in local.items():
        fitted = measured.fitted[node]
        box = _centred(placement.x[index], placement.middle(index), fitted.width, fitted.height)
        drawn.nodes[node] = PlacedNode(measured.graph.nodes[node], fitted, box)
    routes = route_grid(placement)
    for index, path, route in zip(part.links, routes.links, placement.grid.routes, strict=True):
        width, height = label_size(measured.lines[index])
        box = _centred(placement.x[route[1]], placement.middle(route[1]), width, height)
        drawn.edges[index] = _placed_edge(measured, index, path, box)
    for index in part.loops:
        path, edge = route_loop(placement, local[measured.bundles[index].source], LOOP_WIDTH)
        width, height = label_size(measured.lines[index])
        box = Box(edge[0] + LOOP_LABEL_GAP, edge[1] - height / 2, width, height)
        drawn.edges[index] = _placed_edge(measured, index, path, box)
    for root, path in routes.starts.items():
        node, cell = part.members[root], placement.grid.starts[root]
        drawn.starts[node] = PlacedStart(measured.graph.nodes[node].id, placement.x[cell], placement.middle(cell), path)


def _placed_edge(measured: _Measured, index: int, path: Path, label: Box) -> PlacedEdge:
    bundle = measured.bundles[index]
    return PlacedEdge(bundle.edges, bundle.count, path, label, measured.lines[index])


def _centred(x: float, y: float, width: float, height: float) -> Box:
    return Box(x - width / 2, y - height / 2, width, height)
