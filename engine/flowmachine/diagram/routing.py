"""y of every row and the line of every link.

Lines run straight down (or up) inside a row and bend only in the gaps between rows, with upright ends. So a line never
touches a node or a label it does not belong to, and lines that share a trunk lie exactly on each other.

A link that points up leaves and enters at the side of a node when the room beside it is free, else at its top and
bottom.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flowmachine.diagram.cells import Grid

Point: TypeAlias = tuple[float, float]
# One point: a straight line to it. Three points: two control points of a cubic curve and its end.
Stroke: TypeAlias = tuple[Point, ...]

ARROW_LENGTH = 7.0
_GAP_MIN = 20.0
_GAP_GROWTH = 0.13
_GAP_GROWTH_MAX = 60.0
# Room for each line that runs far to the side: many of them need a higher gap, or they become one grey band.
_GAP_PER_BEND = 1.5
_GAP_BENDS_MAX = 120.0
_FAR = 100.0
_PORT_DISTANCE = 16.0
_CORNER = 14.0
_SIDE_OFFSET = 7.0
_BEND_RADIUS = 18.0
_LOOP_HALF_HEIGHT = 9.0


@dataclass(frozen=True, slots=True)
class Path:
    """A line from `start` along `strokes`; the arrow head at its end has its tip at `tip` and looks along `heading`."""

    start: Point
    strokes: tuple[Stroke, ...]
    tip: Point
    heading: Point


@dataclass(frozen=True, slots=True)
class Placement:
    """Where all cells of one grid are: rows from left to right, x of each axis, top and bottom of each row."""

    grid: Grid
    rows: list[list[int]]
    x: list[float]
    bands: list[tuple[float, float]]
    node_sizes: list[tuple[float, float]]
    """Width and height of each node's box; its cell is larger when a loop stands at its side."""
    sides: dict[tuple[int, int], int]
    """Where a line meets the side of a node, see `free_sides`."""

    def middle(self, cell: int) -> float:
        """The y of the middle of a cell."""
        top, bottom = self.bands[self.grid.cells[cell].row]
        return (top + bottom) / 2


@dataclass(frozen=True, slots=True)
class Routes:
    """The line of each link, and of the start mark of each root."""

    links: list[Path]
    starts: dict[int, Path]


def free_sides(
    grid: Grid, rows: Sequence[Sequence[int]], x: Sequence[float], node_sizes: Sequence[tuple[float, float]]
) -> dict[tuple[int, int], int]:
    """For (node, neighbour cell) of links that point up: 1 or -1 when the line may use the right or left side."""
    place = {cell: index for row in rows for index, cell in enumerate(row)}
    sides: dict[tuple[int, int], int] = {}
    for route in grid.routes:
        if grid.cells[route[0]].row < grid.cells[route[-1]].row:
            continue
        for node, neighbour in ((route[0], route[1]), (route[-1], route[-2])):
            row = rows[grid.cells[node].row]
            side = 1 if x[neighbour] > x[node] else -1
            index = place[node] + side
            beside = row[index] if 0 <= index < len(row) else None
            if _is_side_free(grid, x, node_sizes[node][0] / 2, (node, neighbour, beside)):
                sides[node, neighbour] = side
    return sides


def _is_side_free(grid: Grid, x: Sequence[float], half_width: float, cells: tuple[int, int, int | None]) -> bool:
    node, neighbour, beside = cells
    distance = abs(x[neighbour] - x[node])
    is_right = x[neighbour] > x[node]
    if distance < half_width + ARROW_LENGTH + _BEND_RADIUS / 2 or (
        is_right and grid.cells[node].extent.right > half_width
    ):
        return False
    if beside is None:
        return True
    extent = grid.cells[beside].extent
    return abs(x[beside] - x[node]) - (extent.left if is_right else extent.right) > distance + ARROW_LENGTH


def stack_rows(
    grid: Grid, rows: Sequence[Sequence[int]], x: Sequence[float], sides: Mapping[tuple[int, int], int]
) -> list[tuple[float, float]]:
    """Top and bottom of each row; gaps grow with the bends in them, so that bends do not become flat."""
    bands: list[tuple[float, float]] = []
    y = 0.0
    for row in rows:
        height = max((grid.cells[cell].extent.height for cell in row), default=0.0)
        bands.append((y, y + height))
        pairs = [(cell, other) for cell in row for other in grid.below[cell]]
        bent = [
            abs(x[cell] - x[other])
            for cell, other in pairs
            if (cell, other) not in sides and (other, cell) not in sides
        ]
        y += height + _gap_below(bent)
    return bands


def _gap_below(bends: Sequence[float]) -> float:
    far = sum(bend > _FAR for bend in bends)
    growth = min(_GAP_GROWTH_MAX, max(bends, default=0.0) * _GAP_GROWTH)
    return _GAP_MIN + growth + min(_GAP_BENDS_MAX, far * _GAP_PER_BEND)


def route_grid(placement: Placement) -> Routes:
    """The line of each link and of each start mark."""
    ports = _spread_ports(placement)
    starts: dict[int, Path] = {}
    for root, cell in placement.grid.starts.items():
        ports[cell, root] = placement.x[cell]
        starts[root] = _path(placement, [cell, root], ports)
    return Routes([_path(placement, route, ports) for route in placement.grid.routes], starts)


def route_loop(placement: Placement, node: int, width: float) -> tuple[Path, Point]:
    """The line of a loop at the right side of a node, and its outermost point."""
    x = placement.x[node] + placement.node_sizes[node][0] / 2
    y = placement.middle(node)
    end = (x + ARROW_LENGTH, y + _LOOP_HALF_HEIGHT)
    outer = x + width
    upper: Stroke = ((x + width / 2, y - _LOOP_HALF_HEIGHT), (outer, y - _LOOP_HALF_HEIGHT), (outer, y))
    lower: Stroke = ((outer, y + _LOOP_HALF_HEIGHT), (x + width / 2, end[1]), end)
    return Path((x, y - _LOOP_HALF_HEIGHT), (upper, lower), (x, end[1]), (-1.0, 0.0)), (outer, y)


def _half_height(placement: Placement, cell: int) -> float:
    return (
        placement.node_sizes[cell][1] / 2
        if cell < len(placement.node_sizes)
        else placement.grid.cells[cell].extent.height / 2
    )


def _spread_ports(placement: Placement) -> dict[tuple[int, int], float]:
    """For (node, neighbour cell) the x at which their segment meets the box."""
    grid = placement.grid
    ports: dict[tuple[int, int], float] = {}
    for node, (width, _) in enumerate(placement.node_sizes):
        for neighbours in (grid.above[node], grid.below[node]):
            ends = sorted(
                (cell for cell in neighbours if (node, cell) not in placement.sides), key=placement.x.__getitem__
            )
            room = max(width / 2 - _CORNER, 0.0)
            offsets = [placement.x[cell] - placement.x[node] for cell in ends]
            wishes = [_port_wish(offset, room) for offset in offsets]
            main = _main_end([grid.is_favoured(node, cell) for cell in ends], offsets, room)
            for cell, offset in zip(ends, _keep_apart(wishes, main, room), strict=True):
                ports[node, cell] = placement.x[node] + offset
    return ports


def _main_end(favoured: Sequence[bool], offsets: Sequence[float], room: float) -> int | None:
    """The one line that keeps its place at a node's edge: a favoured one, else the most central that runs straight."""
    straight = [index for index, offset in enumerate(offsets) if abs(offset) <= room]
    return min(straight, key=lambda index: (not favoured[index], abs(offsets[index])), default=None)


def _port_wish(offset: float, room: float) -> float:
    if abs(offset) <= room:
        return offset
    return room * 0.6 if offset > 0 else -room * 0.6


def _keep_apart(wishes: Sequence[float], main: int | None, room: float) -> list[float]:
    """Offsets in the same order, near to the wishes, apart from each other, within the room; the main one stays."""
    if len(wishes) < 2:
        return list(wishes)
    if main is None:
        return _spread(wishes, -room, room)
    axis = wishes[main]
    left = _spread(wishes[:main], -room, axis - min(_PORT_DISTANCE, (axis + room) / (main + 1)))
    right = _spread(wishes[main + 1 :], axis + min(_PORT_DISTANCE, (room - axis) / (len(wishes) - main)), room)
    return [*left, axis, *right]


def _spread(wishes: Sequence[float], lowest: float, highest: float) -> list[float]:
    """Isotonic regression: groups of ports that want the same place are set side by side round their mean wish."""
    if not wishes:
        return []
    distance = min(_PORT_DISTANCE, (highest - lowest) / (len(wishes) - 1)) if len(wishes) > 1 else 0.0
    groups: list[tuple[float, int]] = []
    for index, wish in enumerate(wishes):
        mean, count = wish - index * distance, 1
        while groups and groups[-1][0] > mean:
            other_mean, other_count = groups.pop()
            mean = (mean * count + other_mean * other_count) / (count + other_count)
            count += other_count
        groups.append((mean, count))
    means = [mean for mean, count in groups for _ in range(count)]
    last = highest - (len(wishes) - 1) * distance
    return [min(max(mean, lowest), last) + index * distance for index, mean in enumerate(means)]


def _path(placement: Placement, route: Sequence[int], ports: Mapping[tuple[int, int], float]) -> Path:
    rows = [placement.grid.cells[cell].row for cell in route]
    step = 1.0 if rows[-1] > rows[0] else -1.0
    start, strokes = _leave(placement, route, ports)
    here = strokes[-1][-1] if strokes else start
    for cell in route[1:-1]:
        top, bottom = placement.bands[placement.grid.cells[cell].row]
        enter, leave = (top, bottom) if step > 0 else (bottom, top)
        strokes += _bend(here, (placement.x[cell], enter))
        here = (placement.x[cell], leave)
        strokes.append((here,))
    side = placement.sides.get((route[-1], route[-2]), 0)
    if side:
        return _arrive_at_side(placement, route, start, strokes, side)
    target = route[-1]
    edge = placement.middle(target) - step * _half_height(placement, target)
    tip = (ports[target, route[-2]], edge)
    strokes += _bend(here, (tip[0], edge - step * ARROW_LENGTH))
    return Path(start, _joined(start, strokes), tip, (0.0, step))


def _leave(
    placement: Placement, route: Sequence[int], ports: Mapping[tuple[int, int], float]
) -> tuple[Point, list[Stroke]]:
    source, neighbour = route[0], route[1]
    side = placement.sides.get((source, neighbour), 0)
    is_down = placement.grid.cells[neighbour].row > placement.grid.cells[source].row
    if not side:
        half_height = _half_height(placement, source)
        edge = placement.middle(source) + (half_height if is_down else -half_height)
        return (ports[source, neighbour], edge), []
    start = (placement.x[source] + side * placement.node_sizes[source][0] / 2, placement.middle(source) - _SIDE_OFFSET)
    x, top = placement.x[neighbour], placement.bands[placement.grid.cells[source].row][0]
    radius = min(_BEND_RADIUS, abs(x - start[0]), abs(start[1] - top))
    corner: Stroke = ((x - side * radius / 2, start[1]), (x, start[1] - radius / 2), (x, start[1] - radius))
    return start, [((x - side * radius, start[1]),), corner, ((x, top),)]


def _arrive_at_side(placement: Placement, route: Sequence[int], start: Point, strokes: list[Stroke], side: int) -> Path:
    target, neighbour = route[-1], route[-2]
    x, bottom = placement.x[neighbour], placement.bands[placement.grid.cells[target].row][1]
    tip = (placement.x[target] + side * placement.node_sizes[target][0] / 2, placement.middle(target) + _SIDE_OFFSET)
    end = (tip[0] + side * ARROW_LENGTH, tip[1])
    radius = min(_BEND_RADIUS, abs(x - end[0]), abs(bottom - end[1]))
    corner: Stroke = ((x, end[1] + radius / 2), (x - side * radius / 2, end[1]), (x - side * radius, end[1]))
    more: list[Stroke] = [((x, bottom),), ((x, end[1] + radius),), corner, (end,)]
    return Path(start, _joined(start, [*strokes, *more]), tip, (-float(side), 0.0))


def _bend(here: Point, there: Point) -> list[Stroke]:
    """From one point to another with upright ends."""
    if abs(here[0] - there[0]) < 0.05:
        return [(there,)]
    middle = (here[1] + there[1]) / 2
    return [((here[0], middle), (there[0], middle), there)]


def _joined(start: Point, strokes: Iterable[Stroke]) -> tuple[Stroke, ...]:
    """The strokes without those of no length, and with upright lines that follow each other made one."""
    kept: list[Stroke] = []
    here = before = start
    for stroke in strokes:
        end = stroke[-1]
        if len(stroke) == 1 and end == here:
            continue
        if (
            kept
            and len(kept[-1]) == len(stroke) == 1
            and abs(before[0] - end[0]) < 0.05
            and abs(here[0] - end[0]) < 0.05
        ):
            kept[-1] = stroke
        else:
            kept.append(stroke)
            before = here
        here = end
    return tuple(kept)
