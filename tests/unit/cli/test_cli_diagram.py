"""`flowmachine diagram`, and the graph of a machine."""

from pathlib import Path

import pytest

from flowmachine.cli.diagram import choose_format
from flowmachine.cli.main import main
from flowmachine.core.definition import BusinessState, ChannelId, Command, Machine, State, StateId, Transition
from flowmachine.core.merge import merge_shallow
from flowmachine.diagram.machine import final_tones, machine_graph

EXAMPLE = Path(__file__).parents[3] / "engine/flowmachine/examples/orders.yaml"
STAGE = BusinessState(1, "somewhere")


def build(ways: dict[str, list[str]]) -> Machine:
    """A machine of states with the targets of their transitions, in order; those without any are final."""
    states = {
        StateId(name): State(
            id=StateId(name),
            description=f"about {name}",
            is_final=not targets,
            business_state=STAGE,
            command=Command(ChannelId("c"), f"do-{name}", is_outbox=False) if targets else None,
            side_commands=(),
            transitions={f"to-{to}": Transition(f"to-{to}", StateId(to), None, None) for to in targets},
        )
        for name, targets in ways.items()
    }
    return Machine("m", "r", StateId(next(iter(ways))), "__created__", states, merge_shallow)


def test_end_of_the_main_way_is_good_and_ends_that_turn_off_are_bad() -> None:
    machine = build({"new": ["paid", "refused"], "paid": ["done", "stolen"], "refused": [], "done": [], "stolen": []})
    assert final_tones(machine) == {"refused": "bad", "done": "good", "stolen": "bad"}


def test_way_that_goes_on_is_the_main_one_even_if_listed_last() -> None:
    machine = build({"new": ["refused", "paid"], "refused": [], "paid": ["done"], "done": []})
    assert final_tones(machine) == {"refused": "bad", "done": "good"}


def test_end_of_compensations_is_neither_good_nor_bad() -> None:
    machine = build(
        {"new": ["paid"], "paid": ["done", "refunding"], "refunding": ["refunded"], "refunded": [], "done": []}
    )
    assert final_tones(machine)["refunded"] != "bad"


def test_retry_does_not_lead_the_main_way_in_circles() -> None:
    machine = build({"new": ["new", "waiting"], "waiting": ["new", "done"], "done": []})
    assert final_tones(machine) == {"done": "good"}


def test_machine_without_a_final_state_has_no_tones() -> None:
    assert final_tones(build({"a": ["b"], "b": ["a"]})) == {}


def test_unreachable_end_is_neutral() -> None:
    assert final_tones(build({"a": ["b"], "b": [], "lonely": []}))["lonely"] == "neutral"


def test_graph_without_counts_shows_none() -> None:
    graph = machine_graph(build({"a": ["b"], "b": []}))
    assert [(node.id, node.kind, node.subtitle, node.badge) for node in graph.nodes] == [
        ("a", "initial", "do-a", ""),
        ("b", "final", "", ""),
    ]
    assert [edge.count for edge in graph.edges] == [None]
    assert "about a" in graph.nodes[0].details


def test_graph_shows_counts() -> None:
    graph = machine_graph(build({"a": ["b", "c"], "b": [], "c": []}), {"a": 3, "b": 2}, {("a", "to-b"): 2})
    assert [node.badge for node in graph.nodes] == ["3", "2", ""]
    assert [edge.count for edge in graph.edges] == [2, 0]


@pytest.mark.parametrize(
    ("wanted", "output", "chosen"),
    [
        (None, None, "text"),
        (None, "a.svg", "svg"),
        (None, "a.MMD", "mermaid"),
        (None, "a.txt", "text"),
        (None, "a", "svg"),
        ("mermaid", "a.svg", "mermaid"),
    ],
)
def test_format_is_what_was_asked_for_or_what_the_file_is_called(
    wanted: str | None, output: str | None, chosen: str
) -> None:
    assert choose_format(wanted, output) == chosen


def test_text_goes_to_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagram", "-f", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert "● created [executePayment]" in out
    assert "✓ delivered" in out
    assert "✗ paymentFailed" in out


def test_file_is_written(tmp_path: Path) -> None:
    output = tmp_path / "orders.svg"
    assert main(["diagram", "-f", str(EXAMPLE), "-o", str(output)]) == 0
    assert output.read_text("utf-8").startswith("<svg ")


def test_file_that_cannot_be_written_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagram", "-f", str(EXAMPLE), "-o", str(tmp_path / "nowhere/orders.svg")]) == 1
    assert "cannot be written" in capsys.readouterr().err
