from flowmachine.diagram.layers import rank_nodes
from flowmachine.diagram.structure import Structure, connected_parts, hopeful_nodes, long_paths, reading_orders

STEPS = 8
GOAL, FAILED = 2 * STEPS, 2 * STEPS + 1


def saga_with_compensations() -> Structure:
    """Steps 0 to 7 lead to the goal; step n fails to compensation 7 + n, and these lead back to the failed end."""
    links = [(step, step + 1) for step in range(STEPS - 1)] + [(STEPS - 1, GOAL), (0, FAILED), (STEPS, FAILED)]
    links += [(step, STEPS + step - 1) for step in range(1, STEPS)]
    links += [(STEPS + step, STEPS + step - 1) for step in range(1, STEPS - 1)]
    links += [(2 * STEPS - 1, FAILED)]
    return Structure(2 * STEPS + 2, tuple(links), (0,), (GOAL,))


def test_forward_order_turns_only_links_that_close_a_cycle() -> None:
    order = reading_orders(Structure(4, ((0, 1), (1, 2), (2, 0), (0, 3), (3, 2)), (0,), ()))[0]
    assert order[0] < order[1] < order[2]
    assert order[0] < order[3] < order[2]


def test_chain_longer_than_the_recursion_limit_is_ranked() -> None:
    size = 3000
    structure = Structure(size, tuple((node, node + 1) for node in range(size - 1)), (0,), (size - 1,))
    assert rank_nodes(structure).ranks == tuple(range(size))


def test_compensations_stand_beside_their_steps() -> None:
    ranks = rank_nodes(saga_with_compensations()).ranks
    assert [ranks[step] for step in range(STEPS)] == list(range(STEPS))
    assert all(abs(ranks[STEPS + step - 1] - ranks[step]) <= 2 for step in range(1, STEPS))


def test_skipped_step_does_not_turn_the_main_way() -> None:
    ranks = rank_nodes(Structure(5, ((0, 1), (1, 2), (2, 3), (3, 4), (0, 4)), (0,), (4,))).ranks
    assert ranks == (0, 1, 2, 3, 4)


def test_end_of_many_failures_stands_at_the_bottom() -> None:
    size = 10
    links = [(node, node + 1) for node in range(size - 1)] + [(node, size) for node in range(size)]
    assert rank_nodes(Structure(size + 1, tuple(links), (0,), ())).ranks[size] == size


def test_no_link_joins_nodes_of_one_row() -> None:
    structure = saga_with_compensations()
    ranks = rank_nodes(structure).ranks
    assert all(ranks[source] != ranks[target] for source, target in structure.links)


def test_paths_cover_every_node_once_and_begin_with_the_way_to_the_goal() -> None:
    structure = saga_with_compensations()
    paths = long_paths(structure, rank_nodes(structure).order)
    assert sorted(node for path in paths for node in path) == list(range(structure.size))
    assert paths[0] == [*range(STEPS), GOAL]


def test_only_nodes_that_lead_to_a_good_end_are_hopeful() -> None:
    assert hopeful_nodes(saga_with_compensations()) == {*range(STEPS), GOAL}


def test_parts_are_found_whatever_the_direction() -> None:
    assert connected_parts(5, [(3, 0), (1, 2)]) == [[0, 3], [1, 2], [4]]
