"""The machine as a Mermaid state diagram, which many Markdown viewers draw by themselves.

States get the names s0, s1, ... because Mermaid takes only simple words as names; the texts of the graph appear as
descriptions. In them every character that could mean something to Mermaid, HTML or Markdown is written as a numbered
entity, so any text is shown and none is interpreted.
"""

from collections.abc import Iterable
from json import dumps

from flowmachine.diagram.graph import Bundle, Graph, Node, bundle_edges
from flowmachine.diagram.typography import clean_text

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,_-/()?!=+")
# The title takes no entities, and Mermaid removes what looks like a tag from it: other signs stand in.
_TITLE_SIGNS = str.maketrans({"<": "\u2039", ">": "\u203a", "&": "\uff06"})
_TEXT_LENGTH_MAX = 60
_TONE_STYLES = (
    "classDef good fill:#eefaf3,stroke:#3f9b6b,color:#14593a",
    "classDef bad fill:#fdf2f1,stroke:#d0635b,color:#8c2821",
)


def render_mermaid(graph: Graph) -> str:
    """The text of the diagram; equal graphs give equal texts."""
    lines: list[str] = []
    title = clean_text(graph.title).translate(_TITLE_SIGNS)
    if title:
        lines.extend(("---", f"title: {dumps(title)}", "---"))
    lines.append("stateDiagram-v2")
    body = ["direction TB", *_states(graph.nodes)]
    body.extend(f"[*] --> s{index}" for index, node in enumerate(graph.nodes) if node.kind == "initial")
    body.extend(_transition(bundle) for bundle in bundle_edges(graph))
    body.extend(f"s{index} --> [*]" for index, node in enumerate(graph.nodes) if node.kind == "final")
    body.extend(_tones(graph.nodes))
    lines.extend(f"    {line}" for line in body)
    return "\n".join([*lines, ""])


def _states(nodes: Iterable[Node]) -> Iterable[str]:
    for index, node in enumerate(nodes):
        title = _encoded(node.title) or _encoded(node.id) or "-"
        if node.badge:
            title += f" ({_encoded(node.badge)})"
        if node.subtitle:
            title += f"<br/>{_encoded(node.subtitle)}"
        yield f'state "{title}" as s{index}'


def _transition(bundle: Bundle) -> str:
    labels = [_edge_label(edge.label, edge.count) for edge in bundle.edges]
    text = "<br/>".join(label for label in labels if label)
    line = f"s{bundle.source} --> s{bundle.target}"
    return f"{line} : {text}" if text else line


def _edge_label(label: str, count: int | None) -> str:
    text = _encoded(label)
    return text if count is None else f"{text} ({count})".strip()


def _tones(nodes: tuple[Node, ...]) -> Iterable[str]:
    coloured = [(index, node.tone) for index, node in enumerate(nodes) if node.tone != "neutral"]
    if coloured:
        yield from _TONE_STYLES
    for index, tone in coloured:
        yield f"class s{index} {tone}"


def _encoded(text: str) -> str:
    cleaned = clean_text(text)
    if len(cleaned) > _TEXT_LENGTH_MAX:
        cleaned = cleaned[: _TEXT_LENGTH_MAX - 1] + "\u2026"
    return "".join(
        character if character in _PLAIN or ord(character) > 127 else f"#{ord(character)};" for character in cleaned
    )
