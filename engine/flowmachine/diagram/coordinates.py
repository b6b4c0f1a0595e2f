"""x of every cell, after Brandes and Koepf, with preferences.

1. Four times, once for each pair of directions (rows downwards or upwards, cells from the left or from the right),
   cells of neighbouring rows are joined into vertical blocks. Segments along the main paths come first, then the
   straight middle parts of long lines, then a cell and the median of its neighbours. Joined segments never cross.
2. Blocks are pushed together as far as their widths allow.
3. Each cell takes the mean of its two middle positions among the four. That keeps the order and the distances in every
   row, and whatever is straight in all four stays straight.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from flowmachine.diagram.cells import Cell, Grid

_GAP_NODE = 32.0
_GAP_LABEL = 14.0
_GAP_LINE = 18.0


def place_columns(grid: Grid, rows: Sequence[Sequence[int]]) -> list[float]:
    """The x of the axis of each cell (there is one at least); cells of one row keep their order and do not overlap."""
    placements: list[list[float]] = []
    for is_down in (True, False):
        for is_from_left in (True, False):
            sides = rows if is_from_left else [row[::-1] for row in rows]
            blocks = _join_blocks(grid, sides, is_down=is_down)
            columns = _push_together(grid, sides, blocks, is_from_left=is_from_left)
            placements.append(columns if is_from_left else [-x for x in columns])
    return _middle(_align(placements))


def distance_min(left: Cell, right: Cell) -> float:
    """The least distance between the axes of two neighbours in a row."""
    return left.extent.right + right.extent.left + min(_gap(left), _gap(right))


def _gap(cell: Cell) -> float:
    if cell.kind == "node":
        return _GAP_NODE
    return _GAP_LABEL if cell.kind == "label" else _GAP_LINE


def _join_blocks(grid: Grid, rows: Sequence[Sequence[int]], *, is_down: bool) -> list[int]:
    """For each cell the first cell of its block."""
    ordered = rows if is_down else rows[::-1]
    neighbours = grid.above if is_down else grid.below
    root = list(range(len(grid.cells)))
    for before, row in pairwise(ordered):
        place = {cell: index for index, cell in enumerate(before)}
        for position, other in _joined_pairs(grid, row, place, neighbours).items():
            root[row[position]] = root[other]
    return root


def _joined_pairs(
    grid: Grid, row: Sequence[int], place: dict[int, int], neighbours: Sequence[Sequence[int]]
) -> dict[int, int]:
    """For positions in the row the neighbour they are joined with; pairs do not cross and share no cell."""
    wishes: list[tuple[int, int, list[int]]] = []
    for position, cell in enumerate(row):
        if neighbours[cell]:
            rank, choices = _choices(grid, cell, sorted(neighbours[cell], key=place.__getitem__))
            wishes.append((rank, position, choices))
    wishes.sort(key=lambda wish: wish[:2])
    taken_here: list[int] = []
    taken_there: list[int] = []
    pairs: dict[int, int] = {}
    for _, position, choices in wishes:
        index = bisect_left(taken_here, position)
        low = taken_there[index - 1] if index else -1
        high = taken_there[index] if index < len(taken_there) else len(place)
        choice = next((cell for cell in choices if low < place[cell] < high), None)
        if choice is not None:
            taken_here.insert(index, position)
            taken_there.insert(index, place[choice])
            pairs[position] = choice
    return pairs


def _choices(grid: Grid, cell: int, neighbours: Sequence[int]) -> tuple[int, list[int]]:
    """How urgent the wish of this cell is (0 first) and the neighbours it would be joined with, best first."""
    favoured = [other for other in neighbours if grid.is_favoured(cell, other)]
    if favoured:
        return 0, favoured
    if grid.cells[cell].kind != "node":
        straight = [other for other in neighbours if grid.cells[other].kind == "line"]
        if straight:
            return 1, straight
    middle = (len(neighbours) - 1) // 2
    return 2, list(neighbours[middle : len(neighbours) // 2 + 1])


def _push_together(
    grid: Grid, rows: Sequence[Sequence[int]], root: Sequence[int], *, is_from_left: bool
) -> list[float]:
    """Blocks as far left as they go, then each as far right as others allow; from the right everything is mirrored."""
    ahead: dict[int, dict[int, float]] = {block: {} for block in root}
    for row in rows:
        for left, right in pairwise(row):
            cells = (grid.cells[left], grid.cells[right])
            distance = distance_min(*cells) if is_from_left else distance_min(*cells[::-1])
            known = ahead[root[left]].get(root[right], 0.0)
            ahead[root[left]][root[right]] = max(known, distance)
    sequence = _blocks_in_sequence(ahead)
    x = dict.fromkeys(sequence, 0.0)
    for block in sequence:
        for other, distance in ahead[block].items():
            x[other] = max(x[other], x[block] + distance)
    for block in reversed(sequence):
        if ahead[block]:
            x[block] = min(x[other] - distance for other, distance in ahead[block].items())
    return [x[block] for block in root]


def _blocks_in_sequence(ahead: dict[int, dict[int, float]]) -> list[int]:
    """Blocks so that each stands after all blocks to its left."""
    waiting = dict.fromkeys(ahead, 0)
    for others in ahead.values():
        for other in others:
            waiting[other] += 1
    ready = [block for block, count in waiting.items() if count == 0]
    for block in ready:
        for other in ahead[block]:
            waiting[other] -= 1
            if waiting[other] == 0:
                ready.append(other)
    return ready


def _align(placements: Sequence[Sequence[float]]) -> list[list[float]]:
    """All placements over the narrowest one: those from the left by their left edge, others by their right edge."""
    narrowest = min(placements, key=lambda columns: max(columns) - min(columns))
    aligned: list[list[float]] = []
    for number, columns in enumerate(placements):
        shift = min(narrowest) - min(columns) if number % 2 == 0 else max(narrowest) - max(columns)
        aligned.append([x + shift for x in columns])
    return aligned


def _middle(placements: Sequence[Sequence[float]]) -> list[float]:
    middles: list[float] = []
    for values in zip(*placements, strict=True):
        ordered = sorted(values)
        middles.append((ordered[1] + ordered[2]) / 2)
    return middles
