"""Problems and findings for people: short, in groups, coloured on a terminal.

Everything printed here comes from a user's file: it is never read as markup, and control characters are written out.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flowmachine.core.check import Finding
from flowmachine.diagram.typography import clean_text
from flowmachine.errors import Problem

_TRACE_EVENTS_MAX = 8
"""A longer way there is cut in its middle; the JSON output has it whole."""


def print_problems(console: Console, problems: Sequence[Problem], *, source: str = "") -> None:
    """All problems, and how many there are."""
    print_judgement(console, problems, (), source=source)


def print_judgement(
    console: Console, problems: Sequence[Problem], findings: Sequence[Finding], *, source: str = ""
) -> None:
    """Errors, then warnings, then a line that counts both."""
    is_about_source = any(problem.path == source for problem in problems)  # it cannot be read: said once is enough
    if source and not is_about_source:
        console.print(Text(clean_text(source), "bold"))
    errors: list[Problem | Finding] = [*problems, *(finding for finding in findings if finding.severity == "error")]
    warnings = [finding for finding in findings if finding.severity == "warning"]
    _print_group(console, "✗", "red", errors)
    _print_group(console, "!", "yellow", warnings)
    style = "red" if errors else "yellow" if warnings else "green"
    console.print(Text(f"{count(len(errors), 'error')}, {count(len(warnings), 'warning')}", f"bold {style}"))


def count(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _print_group(console: Console, mark: str, style: str, entries: Sequence[Problem | Finding]) -> None:
    """One heading line per path, with everything that is wrong there below it."""
    path: str | None = None
    for entry in entries:
        if entry.path != path:
            path = entry.path
            console.print(Text.assemble((f"  {mark} ", style), (clean_text(path) or "in general", "bold")))
        console.print(Text.assemble("    ", clean_text(entry.message), (f"  [{entry.code}]", "dim")))
        if isinstance(entry, Finding) and entry.trace is not None:
            console.print(Text(f"    way there: {_format_trace(entry.trace)}", "dim"))


def _format_trace(trace: Sequence[str]) -> str:
    events = [clean_text(event) for event in trace]
    if not events:
        return "it is the initial state"
    if len(events) > _TRACE_EVENTS_MAX:
        half = _TRACE_EVENTS_MAX // 2
        events = [*events[:half], f"... {len(events) - 2 * half} more ...", *events[-half:]]
    return " → ".join(events)
