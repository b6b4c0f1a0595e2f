"""Which node stands in which row.

1. For each reading order, links that point up are turned round and every node gets the length of the longest path to
   it.
2. Nodes move towards the side where they have more links, as far as their neighbours allow: lines get shorter.
3. The order with the lowest cost wins: places that lines occupy, plus a price for each link that points up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flowmachine.diagram.structure import Link, Structure, longest_ranks, reading_orders

# A link that points up costs three rows of line: a single detour stays forward, a chain of compensations is turned.
_UP_COST = 3
# Moves come to rest after two or three rounds in all machines tried; the bound only guards against a slow crawl.
_ROUNDS_MAX = 8


@dataclass(frozen=True, slots=True)
class Ranking:
    """The row of each node, from 0, and the reading order it came from; no link joins two nodes of one row."""

    ranks: tuple[int, ...]
    order: tuple[int, ...]


def rank_nodes(structure: Structure) -> Ranking:
    """The rows with the lowest cost among all reading orders; the first of equals."""
    best: Ranking | None = None
    best_cost = 0
    for order in reading_orders(structure):
        ranks = _shorten(longest_ranks(order, structure.links), order, structure.links)
        cost = _cost(ranks, structure.links)
        if best is None or cost < best_cost:
            best, best_cost = Ranking(tuple(ranks), tuple(order)), cost
    return best or Ranking((), ())


def _shorten(ranks: list[int], order: Sequence[int], links: Sequence[Link]) -> list[int]:
    above: list[list[int]] = [[] for _ in ranks]
    below: list[list[int]] = [[] for _ in ranks]
    for source, target in links:
        upper, lower = (source, target) if order[source] < order[target] else (target, source)
        above[lower].append(upper)
        below[upper].append(lower)
    lowest_first = sorted(range(len(ranks)), key=order.__getitem__, reverse=True)
    for _ in range(_ROUNDS_MAX):
        is_changed = False
        for node in lowest_first:
            wanted = _wanted_rank(ranks, above[node], below[node], ranks[node])
            is_changed = is_changed or wanted != ranks[node]
            ranks[node] = wanted
        if not is_changed:
            break
    lowest = min(ranks, default=0)
    return [rank - lowest for rank in ranks]


def _wanted_rank(ranks: Sequence[int], above: Sequence[int], below: Sequence[int], current: int) -> int:
    if len(below) > len(above):
        return min(ranks[node] for node in below) - 1
    if len(above) > len(below):
        return max(ranks[node] for node in above) + 1
    return current


def _cost(ranks: Sequence[int], links: Sequence[Link]) -> int:
    """Lines to one target from one side share their way, so only the longest of them counts in full."""
    longest: dict[tuple[int, bool], int] = {}
    cost = 0
    for source, target in links:
        is_up = ranks[source] > ranks[target]
        span = abs(ranks[source] - ranks[target])
        longest[target, is_up] = max(longest.get((target, is_up), 0), span)
        cost += 1 + (_UP_COST if is_up else 0)
    return cost + sum(longest.values())
