"""What is drawn: the nodes and edges of one machine, free of any position.

Another module builds a `Graph` from a machine. Every text here is user input: each output escapes it in its own way.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["initial", "normal", "final"]
Tone: TypeAlias = Literal["neutral", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Node:
    """One state; `subtitle` is the command it sends, `badge` a count, `details` the text of its tooltip."""

    id: str
    kind: Kind
    title: str
    subtitle: str = ""
    badge: str = ""
    tone: Tone = "neutral"
    details: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """One transition; `label` is the event, `count` how often it was taken, None when that is not known."""

    source: str
    target: str
    label: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole machine; ids are distinct and every edge joins two of them, else the constructor raises ValueError."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        ids = {node.id for node in self.nodes}
        if len(ids) != len(self.nodes):
            raise ValueError("two nodes have one id")
        for edge in self.edges:
            if edge.source not in ids or edge.target not in ids:
                raise ValueError(f"the edge {edge.source!r} to {edge.target!r} has an end that is no node")


@dataclass(frozen=True, slots=True)
class Bundle:
    """All edges from one node to one other (or the same) node; they are drawn as one line with one label line each."""

    source: int
    target: int
    edges: tuple[Edge, ...]

    @property
    def count(self) -> int | None:
        """The sum of the known counts, None when none is known."""
        counts = [edge.count for edge in self.edges if edge.count is not None]
        return sum(counts) if counts else None


def bundle_edges(graph: Graph) -> tuple[Bundle, ...]:
    """Every edge is in exactly one bundle; bundles stand in the order of their first edge, ends are node positions."""
    position = {node.id: index for index, node in enumerate(graph.nodes)}
    groups: dict[tuple[int, int], list[Edge]] = {}
    for edge in graph.edges:
        groups.setdefault((position[edge.source], position[edge.target]), []).append(edge)
    return tuple(Bundle(source, target, tuple(edges)) for (source, target), edges in groups.items())
