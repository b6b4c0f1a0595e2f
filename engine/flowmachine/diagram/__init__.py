"""Drawings of state machines: SVG for documents, Mermaid for Markdown, text for a terminal.

Everything here is a pure function of a `Graph`: no files, no clock, no random numbers, so the same graph always gives
the same bytes.

| module | purpose |
|---|---|
| `graph` | what is drawn: nodes, edges, and edges bundled by their two ends |
| `typography` | how wide text is, how it is shortened, which characters may not appear |
| `structure` | reading order, the way to a good end, long paths |
| `layers` | which node stands in which row |
| `cells` | rows of cells: nodes, labels and the places where long edges pass |
| `ordering` | left to right order in each row, with few crossings |
| `coordinates` | x of every cell |
| `routing` | y of every row and the line of every edge |
| `layout` | the steps above, one after the other, for each connected part |
| `svg`, `svg_style`, `mermaid`, `text` | the three outputs |
"""

from flowmachine.diagram.graph import Edge, Graph, Node
from flowmachine.diagram.layout import Layout, layout
from flowmachine.diagram.mermaid import render_mermaid
from flowmachine.diagram.svg import render_svg
from flowmachine.diagram.text import render_text

__all__ = ["Edge", "Graph", "Layout", "Node", "layout", "render_mermaid", "render_svg", "render_text"]
