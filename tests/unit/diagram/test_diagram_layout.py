import random
from itertools import pairwise

from flowmachine.diagram import Edge, Graph, Layout, Node, layout
from flowmachine.diagram.cells import Cell, Extent, Grid
from flowmachine.diagram.ordering import count_crossings


def graph_of(*links: tuple[str, str]) -> Graph:
    ids = list(dict.fromkeys(end for link in links for end in link))
    nodes = tuple(Node(name, "initial" if name == ids[0] else "normal", name) for name in ids)
    return Graph("g", nodes, tuple(Edge(source, target, f"{source}{target}") for source, target in links))


def middles(drawing: Layout) -> dict[str, tuple[float, float]]:
    return {
        placed.node.id: (placed.box.x + placed.box.width / 2, placed.box.y + placed.box.height / 2)
        for placed in drawing.nodes
    }


def test_chain_runs_straight_down() -> None:
    drawing = layout(graph_of(("a", "b"), ("b", "c"), ("c", "d")))
    places = [middles(drawing)[name] for name in "abcd"]
    assert all(one[0] == other[0] and one[1] < other[1] for one, other in pairwise(places))
    assert all(len(edge.path.strokes) == 1 for edge in drawing.edges)


def test_main_way_runs_straight_beside_failures() -> None:
    links = [(f"s{step}", f"s{step + 1}") for step in range(6)] + [(f"s{step}", "failed") for step in range(6)]
    places = middles(layout(graph_of(*links)))
    assert len({places[f"s{step}"][0] for step in range(7)}) == 1


def test_start_mark_stands_above_the_initial_node() -> None:
    drawing = layout(graph_of(("a", "b"), ("b", "a")))
    (start,) = drawing.starts
    assert start.node_id == "a"
    assert start.y < drawing.nodes[0].box.y


def test_link_back_points_at_its_target_and_not_through_its_source() -> None:
    drawing = layout(graph_of(("a", "b"), ("b", "c"), ("c", "a")))
    back = next(edge for edge in drawing.edges if edge.edges[0].source == "c")
    box = next(placed.box for placed in drawing.nodes if placed.node.id == "a")
    assert box.x <= back.path.tip[0] <= box.x + box.width
    assert box.y <= back.path.tip[1] <= box.y + box.height


def test_loop_stands_right_of_its_node_with_its_label() -> None:
    drawing = layout(graph_of(("a", "a"), ("a", "b")))
    loop, box = drawing.edges[0], drawing.nodes[0].box
    assert loop.path.start[0] == loop.path.tip[0] == box.x + box.width
    assert loop.label.x > box.x + box.width
    assert loop.label.x + loop.label.width <= drawing.width


def test_long_links_to_one_target_share_their_way() -> None:
    drawing = layout(graph_of(("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("b", "d")))
    ends = {edge.path.tip for edge in drawing.edges if edge.edges[0].target == "d" and edge.edges[0].source in "ab"}
    assert len(ends) == 1


def test_parts_without_connection_stand_side_by_side() -> None:
    places = middles(layout(graph_of(("a", "b"), ("c", "d"))))
    assert places["a"][0] != places["c"][0]


def test_many_single_states_are_set_in_several_lines() -> None:
    drawing = layout(Graph("g", tuple(Node(f"n{index}", "normal", f"n{index}") for index in range(60)), ()))
    assert drawing.width < 3 * drawing.height


def test_empty_graph_has_no_size() -> None:
    assert layout(Graph("g", (), ())) == Layout(0.0, 0.0, (), (), ())


def test_tree_without_main_branch_centres_parents() -> None:
    places = middles(layout(graph_of(("a", "b"), ("a", "c"), ("a", "d"))))
    assert places["a"][0] == places["c"][0]
    assert places["b"][0] < places["a"][0] < places["d"][0]


def test_bundle_of_many_events_shows_the_first_and_how_many_more() -> None:
    edges = tuple(Edge("a", "b", f"event{index}", index) for index in range(10))
    (edge,) = layout(Graph("g", (Node("a", "initial", "a"), Node("b", "final", "b")), edges)).edges
    assert [line.text for line in edge.lines] == [*(f"event{index}" for index in range(5)), "+ 5 more"]
    assert edge.lines[-1].count == "35"
    assert edge.edges == edges


def test_crossings_are_counted_as_by_hand() -> None:
    drawn = random.Random(5)
    grid = Grid(rows=[[], []])
    for row in (0, 1):
        for _ in range(12):
            grid.add(Cell("line", 0, row, Extent(0, 0, 0)))
    for _ in range(50):
        grid.join(drawn.randrange(12), 12 + drawn.randrange(12))
    segments = [(upper, lower) for upper in range(12) for lower in grid.below[upper]]
    by_hand = sum(a < c and b > d for a, b in segments for c, d in segments)
    assert count_crossings(grid, [list(range(12)), list(range(12, 24))]) == by_hand
