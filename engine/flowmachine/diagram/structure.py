"""The bare structure of a machine, as numbers: who leads to whom, which orders to read it in, and its long paths.

An *order* gives each node a position. A link points down when its source comes first, otherwise up. Three orders are
offered:

| order | idea |
|---|---|
| forward | only links that close a cycle point up: the classic drawing |
| unwinding | a state without a way to a good end stands beside the step before it: compensations run up the steps |
| nearest | every state stands as near to the initial state as its shortest path allows |

The last two exist three times: ends stand like other states, or below all states that lead to them, or only those do
to which many lead.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Link: TypeAlias = tuple[int, int]

# An end with this many links to it is not worth turning: its lines share one way down anyhow.
_ENTRIES_MANY = 3


@dataclass(frozen=True, slots=True)
class Structure:
    """Nodes 0 to size - 1, distinct links between two different nodes, the nodes to start from and the good ends."""

    size: int
    links: tuple[Link, ...]
    roots: tuple[int, ...]
    goals: tuple[int, ...]


def successors(size: int, links: Iterable[Link]) -> list[list[int]]:
    """For each node the nodes its links lead to, in the order of the links."""
    following: list[list[int]] = [[] for _ in range(size)]
    for source, target in links:
        following[source].append(target)
    return following


def reachable(following: Sequence[Sequence[int]], starts: Iterable[int]) -> list[int]:
    """The starts and all nodes behind them, nearest first."""
    found = dict.fromkeys(starts)
    queue = list(found)
    for node in queue:
        for target in following[node]:
            if target not in found:
                found[target] = None
                queue.append(target)
    return queue


def hopeful_nodes(structure: Structure) -> frozenset[int]:
    """All nodes from which a good end can be reached."""
    preceding = successors(structure.size, ((target, source) for source, target in structure.links))
    return frozenset(reachable(preceding, structure.goals))


def connected_parts(size: int, links: Iterable[Link]) -> list[list[int]]:
    """The nodes of each connected part in rising order; parts stand in the order of their first node."""
    neighbours = successors(size, (pair for source, target in links for pair in ((source, target), (target, source))))
    seen: set[int] = set()
    parts: list[list[int]] = []
    for node in range(size):
        if node not in seen:
            part = sorted(reachable(neighbours, [node]))
            seen.update(part)
            parts.append(part)
    return parts


def reading_orders(structure: Structure) -> list[list[int]]:
    """The orders worth trying, the classic one first; each lists for every node its position."""
    forward = _forward_order(structure)
    following = successors(structure.size, structure.links)
    anchors = [dict.fromkeys(structure.roots or _starts(structure)[:1], 0)]
    hopeful = hopeful_nodes(structure)
    if hopeful and len(hopeful) < structure.size:
        ranks = longest_ranks(forward, [link for link in structure.links if link[0] in hopeful and link[1] in hopeful])
        anchors.insert(0, {node: ranks[node] for node in hopeful})
    orders = [forward]
    for known in anchors:
        ranks = _nearest_ranks(following, known)
        lowered = [_lower_ends(structure, ranks, entries_min) for entries_min in (structure.size, 1, _ENTRIES_MANY)]
        orders.extend(_order_by_rank(other, forward) for other in lowered)
    return orders


def longest_ranks(order: Sequence[int], links: Iterable[Link]) -> list[int]:
    """For each node the length of the longest path to it, after links that point up are turned round."""
    following: list[list[int]] = [[] for _ in order]
    for source, target in links:
        upper, lower = (source, target) if order[source] < order[target] else (target, source)
        following[upper].append(lower)
    ranks = [0] * len(order)
    for node in sorted(range(len(order)), key=order.__getitem__):
        for target in following[node]:
            ranks[target] = max(ranks[target], ranks[node] + 1)
    return ranks


def long_paths(structure: Structure, order: Sequence[int]) -> list[list[int]]:
    """Disjoint paths that cover every node: first the way to a good end, then the longest of the rest."""
    following: list[list[int]] = [[] for _ in order]
    for source, target in structure.links:
        upper, lower = (source, target) if order[source] < order[target] else (target, source)
        following[upper].append(lower)
    by_order = sorted(range(structure.size), key=order.__getitem__)
    free = set(range(structure.size))
    hopeful = hopeful_nodes(structure)
    paths: list[list[int]] = []
    for root in structure.roots:
        allowed = hopeful if root in hopeful else free
        paths.append(_longest_path(following, by_order, free & allowed, [root]))
        free.difference_update(paths[-1])
    while free:
        path = _longest_path(following, by_order, free, by_order)
        paths.append(path)
        free.difference_update(path)
    return paths


def _longest_path(
    following: Sequence[Sequence[int]], by_order: Sequence[int], free: set[int] | frozenset[int], starts: Sequence[int]
) -> list[int]:
    length: dict[int, int] = {}
    step: dict[int, int] = {}
    for node in reversed(by_order):
        if node not in free:
            continue
        length[node] = 1
        for target in following[node]:
            if target in free and length[target] + 1 > length[node]:
                length[node] = length[target] + 1
                step[node] = target
    usable = [node for node in starts if node in free]
    if not usable:
        return []
    path = [max(usable, key=length.__getitem__)]
    while path[-1] in step:
        path.append(step[path[-1]])
    return path


def _starts(structure: Structure) -> list[int]:
    """The roots, then nodes nothing leads to, then all others: a search that starts in this order visits every node."""
    entered = {target for _, target in structure.links}
    unentered = [node for node in range(structure.size) if node not in entered]
    return list(dict.fromkeys([*structure.roots, *unentered, *range(structure.size)]))


def _forward_order(structure: Structure) -> list[int]:
    """Depth first, numbered backwards when a node is left: only links that close a cycle point up."""
    hopeful = hopeful_nodes(structure)
    following = [
        sorted(targets, key=lambda node: node in hopeful) for targets in successors(structure.size, structure.links)
    ]
    seen: set[int] = set()
    left: list[int] = []
    for start in _starts(structure):
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(following[start]))]
        while stack:
            node, targets = stack[-1]
            target = next((other for other in targets if other not in seen), None)
            if target is None:
                stack.pop()
                left.append(node)
            else:
                seen.add(target)
                stack.append((target, iter(following[target])))
    return _positions(left[::-1])


def _nearest_ranks(following: Sequence[Sequence[int]], known: dict[int, int]) -> list[int]:
    """For each node its distance from the known ones, on top of theirs; nodes never reached come last."""
    ranks = dict(known)
    waiting: dict[int, list[int]] = {}
    for node, rank in known.items():
        waiting.setdefault(rank, []).append(node)
    rank = 0
    while waiting:
        for node in waiting.pop(rank, []):
            for target in following[node]:
                if target not in ranks:
                    ranks[target] = rank + 1
                    waiting.setdefault(rank + 1, []).append(target)
        rank += 1
    return [ranks.get(node, len(following)) for node in range(len(following))]


def _lower_ends(structure: Structure, ranks: Sequence[int], entries_min: int) -> list[int]:
    """The ranks with every end that has so many links to it below the lowest state that leads to it."""
    sources: dict[int, list[int]] = {}
    for source, target in structure.links:
        sources.setdefault(target, []).append(source)
    for source, _ in structure.links:
        sources.pop(source, None)
    lowered = list(ranks)
    for end, entries in sources.items():
        if len(entries) >= entries_min:
            lowered[end] = max(ranks[node] for node in entries) + 1
    return lowered


def _order_by_rank(ranks: Sequence[int], forward: Sequence[int]) -> list[int]:
    """Nodes of lower rank first, those of one rank in forward order."""
    return _positions(sorted(range(len(ranks)), key=lambda node: (ranks[node], forward[node])))


def _positions(sequence: Sequence[int]) -> list[int]:
    order = [0] * len(sequence)
    for position, node in enumerate(sequence):
        order[node] = position
    return order
