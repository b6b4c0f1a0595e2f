"""Rows of cells: every thing that needs a place of its own, and the segments between cells of neighbouring rows.

| row | holds |
|---|---|
| 2 * rank | labels of the links that leave towards or come from this side, and the start mark of an initial node |
| 2 * rank + 1 | nodes of this rank |

Long links pass through a *line* cell in each row between. Links to one target that come from the same side share these
cells: they run into one trunk, like railway tracks, and the label of each stands before the junction, next to its
source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, TypeAlias

from flowmachine.diagram.layers import Ranking
from flowmachine.diagram.structure import Link, Structure, hopeful_nodes, long_paths

CellKind: TypeAlias = Literal["node", "label", "line", "start"]

# Paths shorter than this, or beyond this many, are not worth being drawn as straight lines before others.
_PATH_NODES_MIN = 3
_PATHS_MAX = 16


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a thing reaches to the left and right of its axis, and how high it is."""

    left: float
    right: float
    height: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One place in a row; `owner` is a node, or a link, or for a line the node it leads to."""

    kind: CellKind
    owner: int
    row: int
    extent: Extent


@dataclass(frozen=True, slots=True)
class Sizes:
    """Extents of the nodes, of the labels (one per link) and of the start mark."""

    nodes: tuple[Extent, ...]
    labels: tuple[Extent, ...]
    start: Extent


@dataclass(slots=True)
class Grid:
    """All cells; `above` and `below` list the neighbours of each in the next rows, `routes` the cells of each link."""

    cells: list[Cell] = field(default_factory=list[Cell])
    rows: list[list[int]] = field(default_factory=list[list[int]])
    above: list[list[int]] = field(default_factory=list[list[int]])
    below: list[list[int]] = field(default_factory=list[list[int]])
    routes: list[list[int]] = field(default_factory=list[list[int]])
    starts: dict[int, int] = field(default_factory=dict[int, int])
    favoured: set[Link] = field(default_factory=set[Link])

    def add(self, cell: Cell) -> int:
        """The number of the new cell, which stands last in its row."""
        self.cells.append(cell)
        self.above.append([])
        self.below.append([])
        self.rows[cell.row].append(len(self.cells) - 1)
        return len(self.cells) - 1

    def join(self, one: int, other: int) -> None:
        """The two cells of neighbouring rows are joined by one segment, however often this is called."""
        upper, lower = (one, other) if self.cells[one].row < self.cells[other].row else (other, one)
        if lower not in self.below[upper]:
            self.below[upper].append(lower)
            self.above[lower].append(upper)

    def is_favoured(self, one: int, other: int) -> bool:
        """Whether the segment between two cells belongs to a main path."""
        return (one, other) in self.favoured or (other, one) in self.favoured

    def segment_count(self) -> int:
        """How many segments there are."""
        return sum(len(cells) for cells in self.below)


_LINE = Extent(0.0, 0.0, 0.0)


def build_grid(structure: Structure, ranking: Ranking, sizes: Sizes) -> Grid:
    """The cells of one connected machine; node n is cell n."""
    grid = Grid(rows=[[] for _ in range(2 * max(ranking.ranks, default=0) + 2)])
    for node, rank in enumerate(ranking.ranks):
        grid.add(Cell("node", node, 2 * rank + 1, sizes.nodes[node]))
    for root in structure.roots:
        start = grid.add(Cell("start", root, 2 * ranking.ranks[root], sizes.start))
        grid.starts[root] = start
        grid.join(start, root)
    trunks: dict[tuple[int, bool, int], int] = {}
    for link, extent in enumerate(sizes.labels):
        grid.routes.append(_add_route(grid, structure.links[link], Cell("label", link, 0, extent), trunks))
    _favour_paths(grid, structure, long_paths(structure, ranking.order))
    return grid


def _add_route(grid: Grid, link: Link, label: Cell, trunks: dict[tuple[int, bool, int], int]) -> list[int]:
    source, target = link
    source_row, target_row = grid.cells[source].row, grid.cells[target].row
    step = 1 if target_row > source_row else -1
    first_row = source_row + step
    route = [source, grid.add(Cell("label", label.owner, first_row, label.extent))]
    for row in range(first_row + step, target_row, step):
        key = (target, step > 0, row)
        if key not in trunks:
            trunks[key] = grid.add(Cell("line", target, row, _LINE))
        route.append(trunks[key])
    route.append(target)
    for one, other in pairwise(route):
        grid.join(one, other)
    return route


def _favour_paths(grid: Grid, structure: Structure, paths: Sequence[Sequence[int]]) -> None:
    """The segments along the longest paths are straightened before all others, so the main way reads as one line."""
    route_of = dict(zip(structure.links, grid.routes, strict=True))
    hopeful = hopeful_nodes(structure)
    alike = _alike_branches(structure, grid)
    for path in [path for path in paths if len(path) >= _PATH_NODES_MIN][:_PATHS_MAX]:
        is_main = path[0] in structure.roots and path[0] in hopeful
        for upper, lower in pairwise(path):
            route = route_of.get((upper, lower)) or route_of[lower, upper][::-1]
            if is_main or (upper, lower) not in alike:
                grid.favoured.update(pairwise(route))
    for root, start in grid.starts.items():
        grid.favoured.add((start, root))


def _alike_branches(structure: Structure, grid: Grid) -> set[Link]:
    """Steps to tree branches of about equal height: none is the main one, so the parent stands in their middle."""
    below: list[list[int]] = [[] for _ in range(structure.size)]
    entries = [0] * structure.size
    for link in structure.links:
        upper, lower = sorted(link, key=lambda node: grid.cells[node].row)
        below[upper].append(lower)
        entries[lower] += 1
    height = [0] * structure.size
    for node in sorted(range(structure.size), key=lambda node: grid.cells[node].row, reverse=True):
        height[node] = max((height[child] + 1 for child in below[node]), default=0)
    alike: set[Link] = set()
    for node, children in enumerate(below):
        heights = sorted((height[child] for child in children if entries[child] == 1), reverse=True)
        if len(heights) > 1 and heights[0] - heights[1] <= 1:
            alike.update((node, child) for child in children if height[child] <= heights[0])
    return alike
