"""`diagram`: the machine as SVG, Mermaid or text."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.output import write_output
from flowmachine.cli.source import add_source_options, load_source
from flowmachine.config.build import build_machine
from flowmachine.diagram import Graph, render_mermaid, render_svg, render_text
from flowmachine.diagram.machine import machine_graph

FORMATS: Final = ("svg", "mermaid", "text")
_BY_SUFFIX: Final = {".svg": "svg", ".mmd": "mermaid", ".mermaid": "mermaid", ".md": "mermaid", ".txt": "text"}
_COLUMNS_WITHOUT_TERMINAL: Final = 100


def choose_format(wanted: str | None, output: str | None) -> str:
    """What was asked for, else what the suffix of the output file says, else text."""
    if wanted is not None:
        return wanted
    return _BY_SUFFIX.get(Path(output).suffix.lower(), "svg") if output is not None else "text"


def render(graph: Graph, form: str, columns: int) -> str:
    """The drawing, with a line break at its end."""
    if form == "svg":
        return render_svg(graph)
    return render_mermaid(graph) if form == "mermaid" else render_text(graph, columns)


def _configure(parser: argparse.ArgumentParser) -> None:
    add_source_options(parser)
    parser.add_argument(
        "--format", choices=FORMATS, help="form of the drawing (by the suffix of the output file, else text)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write to this file, not to the standard output")


def _run(arguments: argparse.Namespace) -> int:
    resource = load_source(arguments)
    graph = machine_graph(build_machine(resource))
    columns = shutil.get_terminal_size((_COLUMNS_WITHOUT_TERMINAL, 24)).columns
    text = render(graph, choose_format(arguments.format, arguments.output), columns)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        write_output(arguments.output, text)
    return EXIT_OK


DIAGRAM: Final = Command(
    name="diagram", summary="draw the machine as SVG, Mermaid or text", configure=_configure, run=_run
)
