import pytest

from flowmachine.diagram import Edge, Graph, Node
from flowmachine.diagram.graph import bundle_edges

A, B = Node("a", "initial", "A"), Node("b", "final", "B")


def test_two_nodes_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="one id"):
        Graph("g", (A, A), ())


@pytest.mark.parametrize("edge", [Edge("a", "x", "e"), Edge("x", "a", "e")])
def test_edge_without_node_is_refused(edge: Edge) -> None:
    with pytest.raises(ValueError, match="no node"):
        Graph("g", (A, B), (edge,))


def test_edges_with_the_same_ends_are_one_bundle_and_opposite_ones_are_not() -> None:
    edges = (Edge("a", "b", "e", 1), Edge("b", "a", "f"), Edge("a", "b", "g", 2), Edge("a", "b", "h"))
    forth, back = bundle_edges(Graph("g", (A, B), edges))
    assert [edge.label for edge in forth.edges] == ["e", "g", "h"]
    assert (forth.source, forth.target, forth.count) == (0, 1, 3)
    assert (back.source, back.target, back.count) == (1, 0, None)
