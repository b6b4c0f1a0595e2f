"""Left to right order in each row, with few crossings.

1. A depth first walk from the top gives a first order in which neighbours stand together.
2. Sweeps down and up sort each row by the mean position of its neighbours in the row before; small grids also swap
   direct neighbours while that removes crossings.
3. The order with the fewest crossings seen wins.
"""

from collections.abc import Sequence
from itertools import pairwise

from flowmachine.diagram.cells import Grid

# Work is bounded by the size of the grid, never by a clock: a slow computer must give the same drawing.
_SEGMENTS_SMALL = 700
_SEGMENTS_LARGE = 6000
_SWEEPS_SMALL = 24
_SWEEPS_MEDIUM = 10
_SWEEPS_LARGE = 4
_SWAP_ROUNDS_MAX = 6


def order_rows(grid: Grid) -> list[list[int]]:
    """For each row its cells from left to right."""
    rows = _first_order(grid)
    best, best_crossings = [row[:] for row in rows], count_crossings(grid, rows)
    segment_count = grid.segment_count()
    for sweep in range(_sweep_count(segment_count)):
        if best_crossings == 0:
            break
        _sweep(grid, rows, is_down=sweep % 2 == 0)
        if segment_count <= _SEGMENTS_SMALL:
            _swap_neighbours(grid, rows)
        crossings = count_crossings(grid, rows)
        if crossings < best_crossings:
            best, best_crossings = [row[:] for row in rows], crossings
    return best


def count_crossings(grid: Grid, rows: Sequence[Sequence[int]]) -> int:
    """How many pairs of segments cross."""
    return sum(_crossings_between(grid, upper, lower) for upper, lower in pairwise(rows))


def _sweep_count(segment_count: int) -> int:
    if segment_count <= _SEGMENTS_SMALL:
        return _SWEEPS_SMALL
    return _SWEEPS_MEDIUM if segment_count <= _SEGMENTS_LARGE else _SWEEPS_LARGE


def _first_order(grid: Grid) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in grid.rows]
    seen: set[int] = set()
    for start in (cell for row in grid.rows for cell in row):
        stack = [start]
        while stack:
            cell = stack.pop()
            if cell in seen:
                continue
            seen.add(cell)
            rows[grid.cells[cell].row].append(cell)
            stack.extend(reversed(grid.above[cell]))
            stack.extend(other for other in reversed(grid.below[cell]) if not grid.is_favoured(cell, other))
            stack.extend(other for other in grid.below[cell] if grid.is_favoured(cell, other))
    return rows


def _sweep(grid: Grid, rows: list[list[int]], *, is_down: bool) -> None:
    neighbours = grid.above if is_down else grid.below
    position = [0] * len(grid.cells)
    for row_number in range(len(rows)) if is_down else reversed(range(len(rows))):
        row = rows[row_number]
        means = {
            cell: sum(position[other] for other in neighbours[cell]) / len(neighbours[cell])
            for cell in row
            if neighbours[cell]
        }
        moving = iter(sorted(means, key=means.__getitem__))
        rows[row_number] = [next(moving) if cell in means else cell for cell in row]
        for index, cell in enumerate(rows[row_number]):
            position[cell] = index


def _swap_neighbours(grid: Grid, rows: list[list[int]]) -> None:
    position = [0] * len(grid.cells)
    for row in rows:
        for index, cell in enumerate(row):
            position[cell] = index
    for _ in range(_SWAP_ROUNDS_MAX):
        swaps = [_swap_in_row(grid, row, position) for row in rows]
        if not any(swaps):
            break


def _swap_in_row(grid: Grid, row: list[int], position: list[int]) -> bool:
    is_changed = False
    for index in range(len(row) - 1):
        left, right = row[index], row[index + 1]
        gain = 0
        for neighbours in (grid.above, grid.below):
            lefts = [position[cell] for cell in neighbours[left]]
            rights = [position[cell] for cell in neighbours[right]]
            gain += sum((one > other) - (one < other) for one in lefts for other in rights)
        if gain > 0:
            row[index], row[index + 1] = right, left
            position[left], position[right] = index + 1, index
            is_changed = True
    return is_changed


def _crossings_between(grid: Grid, upper: Sequence[int], lower: Sequence[int]) -> int:
    """Segments sorted by their upper ends cross where lower ends are out of order: a Fenwick tree counts those."""
    place = {cell: index for index, cell in enumerate(lower)}
    tree = [0] * (len(lower) + 1)
    crossings = total = 0
    for cell in upper:
        ends = sorted(place[other] for other in grid.below[cell])
        for end in ends:
            index, not_right = end + 1, 0
            while index:
                not_right += tree[index]
                index &= index - 1
            crossings += total - not_right
        for end in ends:
            index = end + 1
            while index <= len(lower):
                tree[index] += 1
                index += index & -index
        total += len(ends)
    return crossings
