"""`audit`: whether anything was lost, doubled or changed, judged from what stands in the machine's topics.

| module    | holds                                                                       |
|-----------|-----------------------------------------------------------------------------|
| `session` | has the log read, and every saga judged (`flowmachine.audit`)               |
| `gather`  | reads the topics once, in the order that an engine at work demands          |
| `spill`   | puts records aside in a temporary file and gives them back saga by saga     |
| `report`  | the answer as text and as JSON                                              |
"""

import argparse
import asyncio
from typing import TYPE_CHECKING, Final

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.log_options import add_log_options, read_log_options
from flowmachine.cli.output import error_console, output_console
from flowmachine.cli.progress import add_bar, progress_bars
from flowmachine.cli.source import load_source

if TYPE_CHECKING:
    from flowmachine.cli.audit.report import Report

EXIT_FINDINGS: Final = 1
EXIT_NOT_READ: Final = 2


def _configure(parser: argparse.ArgumentParser) -> None:
    add_log_options(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (%(default)s)")


def _run(arguments: argparse.Namespace) -> int:
    resource = load_source(arguments)
    from flowmachine.cli.audit.session import run_audit  # only here: what it needs takes a second to import

    options = read_log_options(arguments)
    with progress_bars(error_console()) as progress:
        report = asyncio.run(run_audit(resource, options, lambda name: add_bar(progress, name)))
    return _answer(report, is_json=arguments.output == "json")


def _answer(report: "Report", *, is_json: bool) -> int:
    from flowmachine.cli.audit.report import print_report, to_json

    if is_json:
        print(to_json(report))
    else:
        print_report(output_console(), report)
    return EXIT_OK if report.is_clean else EXIT_FINDINGS


AUDIT: Final = Command(
    name="audit",
    summary="prove that no input was lost, no command doubled, no saga changed",
    configure=_configure,
    run=_run,
    exit_when_failed=EXIT_NOT_READ,
    details="Reads the machine's topics, replays every saga, and compares. Writes nothing; an engine may be at work.\n"
    "Exit code 0: nothing found; 1: something is wrong (it has been printed); 2: the log could not be read.\n"
    "What each finding means and what to do: docs/audit.md.",
)
