import re
from xml.etree import ElementTree

import pytest

from flowmachine.diagram import Edge, Graph, Node, render_mermaid, render_svg, render_text
from flowmachine.diagram.measures import format_count
from flowmachine.diagram.typography import column_count

NAMESPACE = "{http://www.w3.org/2000/svg}"
ORDER = Graph(
    "Order",
    (
        Node("created", "initial", "created", "executePayment", "1284", details="since\nMonday"),
        Node("paid", "normal", "paid", "prepareOrder"),
        Node("done", "final", "done", tone="good"),
        Node("failed", "final", "failed", tone="bad"),
        Node("lost", "normal", "lost"),
        Node("lost end", "final", "lost end"),
    ),
    (
        Edge("created", "paid", "paymentExecuted", 12610),
        Edge("created", "failed", "paymentFailed", 23),
        Edge("paid", "paid", "retry", 0),
        Edge("paid", "done", "orderPrepared"),
        Edge("lost", "lost end", "never"),
    ),
)
HOSTILE = "</text><script>alert(1)</script> & \"q\" 'a' ]]> -- %% ; : #35; `x` [*] end\x00\u202e\ud800 🎉"
NASTY = Graph(
    HOSTILE,
    (Node(HOSTILE, "initial", HOSTILE, HOSTILE, HOSTILE, details=HOSTILE), Node("", "final", "", tone="bad")),
    (Edge(HOSTILE, "", HOSTILE, 1), Edge("", "", HOSTILE)),
)


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314  our own output


def texts(svg: str) -> list[str]:
    return [element.text for element in parse(svg).iter() if element.text]


def test_svg_shows_states_commands_events_and_counts() -> None:
    shown = texts(render_svg(ORDER))
    for text in ("created", "executePayment", "1284", "paymentExecuted", "12 610", "orderPrepared", "lost end"):
        assert text in shown


def test_svg_has_title_and_description_for_readers() -> None:
    root = parse(render_svg(ORDER))
    assert root.get("role") == "img"
    title, description = root.find(f"{NAMESPACE}title"), root.find(f"{NAMESPACE}desc")
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text == "Order"
    assert "6 states and 5 transitions" in (description.text or "")


def test_svg_is_readable_on_dark_pages() -> None:
    assert "@media (prefers-color-scheme:dark)" in render_svg(ORDER)


def test_svg_marks_final_and_unreachable_states() -> None:
    svg = render_svg(ORDER)
    assert svg.count('class="fm-inner"') == 3
    assert svg.count("cannot be reached from the initial state") == 2
    assert svg.count('class="fm-node fm-good"') == svg.count('class="fm-node fm-bad"') == 1


def test_svg_tooltip_holds_the_full_text() -> None:
    title = "state " * 40
    svg = render_svg(Graph("g", (Node("a", "normal", title, details="first\nsecond"),), ()))
    tooltips = [text for text in texts(svg) if "\n" in text]
    assert f"{title.strip()} (a)\nfirst\nsecond" in tooltips
    assert "…" in svg


def test_busier_lines_are_wider() -> None:
    widths = {
        float(width): count
        for count, width in re.findall(
            r": (\d+)</title><path class=\"fm-line\" stroke-width=\"([\d.]+)\"", render_svg(ORDER)
        )
    }
    assert [widths[width] for width in sorted(widths)] == ["0", "23", "12610"]


def test_svg_interprets_no_text() -> None:
    svg = render_svg(NASTY)
    root = parse(svg)
    tags = {element.tag.removeprefix(NAMESPACE) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "style", "rect", "g", "path", "circle", "text"}
    assert "\u202e" not in svg
    svg.encode("utf-8")


def test_numbers_have_at_most_one_digit_after_the_point() -> None:
    coordinates = re.findall(r' (?:d|x|y|width|height|cx|cy|r|rx)="([^"]*)"', render_svg(ORDER))
    assert not [text for text in coordinates if re.search(r"\.\d\d|nan|inf|e", text)]


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (9999, "9999"), (12345678, "12 345 678")])
def test_large_counts_are_grouped(count: int, shown: str) -> None:
    assert format_count(count) == shown


def test_mermaid_names_states_by_number() -> None:
    assert render_mermaid(ORDER).splitlines() == [
        "---",
        'title: "Order"',
        "---",
        "stateDiagram-v2",
        "    direction TB",
        '    state "created (1284)<br/>executePayment" as s0',
        '    state "paid<br/>prepareOrder" as s1',
        '    state "done" as s2',
        '    state "failed" as s3',
        '    state "lost" as s4',
        '    state "lost end" as s5',
        "    [*] --> s0",
        "    s0 --> s1 : paymentExecuted (12610)",
        "    s0 --> s3 : paymentFailed (23)",
        "    s1 --> s1 : retry (0)",
        "    s1 --> s2 : orderPrepared",
        "    s4 --> s5 : never",
        "    s2 --> [*]",
        "    s3 --> [*]",
        "    s5 --> [*]",
        "    classDef good fill:#eefaf3,stroke:#3f9b6b,color:#14593a",
        "    classDef bad fill:#fdf2f1,stroke:#d0635b,color:#8c2821",
        "    class s2 good",
        "    class s3 bad",
    ]


def test_mermaid_encodes_every_sign_with_a_meaning() -> None:
    for line in render_mermaid(NASTY).splitlines()[4:]:
        text = re.sub(r"#\d+;|<br/>", "", line.partition(" : ")[2] or line.partition('"')[2].rpartition('"')[0])
        assert not set(text) & set("<>&\"';:#%`[]*\x00\n"), line


def test_text_shows_the_main_way_first() -> None:
    assert render_text(ORDER, 60).splitlines() == [
        "Order",
        "6 states, 5 transitions",
        "─" * 36,
        "● created [executePayment]      1284",
        "├─ paymentFailed ─▸ ✗ failed      23",
        "▼  paymentExecuted            12 610",
        "○ paid [prepareOrder]",
        "├─ retry ↺ paid                    0",
        "▼  orderPrepared",
        "✓ done",
        "",
        "○ lost",
        "▼  never",
        "◉ lost end",
        "",
        "✗ failed",
    ]


@pytest.mark.parametrize("width", [1, 24, 40, 80])
@pytest.mark.parametrize("graph", [ORDER, NASTY, Graph("", (), ())])
def test_text_is_never_wider_than_asked(graph: Graph, width: int) -> None:
    lines = render_text(graph, width).splitlines()
    assert all(column_count(line) <= max(width, 24) for line in lines)
