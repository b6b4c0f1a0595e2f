"""`sagas import`: brings the sagas of an export into a machine's log, home partition by home partition.

The file is read whole first: what is cut off, or has a line that cannot be read, changes nothing. Memory holds where
each saga stands in the file, and one partition's ids.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from rich.console import Console
from rich.text import Text

from flowmachine.cli.command import EXIT_OK, EXIT_PROBLEM, Command
from flowmachine.cli.log_options import add_log_options, read_log_options
from flowmachine.cli.output import error_console, output_console
from flowmachine.cli.problem_text import count
from flowmachine.cli.progress import Advance, add_bar, progress_bars
from flowmachine.cli.source import load_source
from flowmachine.core.partitioners import home
from flowmachine.diagram.typography import clean_text
from flowmachine.errors import ConfigurationError
from flowmachine.partition.importing import ImportOutcome
from flowmachine.wire.export import (
    ExportedSaga,
    ExportError,
    ExportHead,
    decode_export_head,
    decode_export_line,
)
from flowmachine.wire.record import decode_head

if TYPE_CHECKING:
    from flowmachine.app import RunOptions
    from flowmachine.config.resource import FlowMachine

STANDARD_INPUT: Final = "-"
EXAMPLES_MAX: Final = 10
"""Sagas that are named for each outcome that a person may want to look into; the JSON output has as many."""
_LINES_PER_STEP: Final = 1000

_MEANINGS: Final = {
    ImportOutcome.ADDED: "were not here",
    ImportOutcome.REPLACED: "had gone less far here",
    ImportOutcome.UNCHANGED: "are here already",
    ImportOutcome.NEWER_HERE: "have gone further here, and stay as they are",
    ImportOutcome.CONFLICT: "are here in another form with the same seq, and stay as they are",
}


@dataclass(slots=True)
class Report:
    """What an import did."""

    head: ExportHead
    counts: Counter[ImportOutcome] = field(default_factory=Counter[ImportOutcome])
    examples: dict[ImportOutcome, list[str]] = field(default_factory=dict[ImportOutcome, list[str]])
    unknown_states: Counter[str] = field(default_factory=Counter[str])
    """States of brought sagas that the machine does not have: their events are held until it does."""

    def add(self, outcome: ImportOutcome, saga_id: str) -> None:
        """Count a saga."""
        self.counts[outcome] += 1
        named = self.examples.setdefault(outcome, [])
        if len(named) < EXAMPLES_MAX:
            named.append(saga_id)


class ExportFile:
    """An export that has been read once. Lines are found again by where they begin."""

    def __init__(self, name: str, lines: BinaryIO) -> None:
        self._name = name
        self._lines = lines
        self.head = self._read_head()
        self.sagas = 0
        self.states: Counter[str] = Counter()

    def index(self, partitions: int, advance: Advance) -> list[list[int]]:
        """Where the lines of each home partition's sagas begin. Raises ConfigurationError if the file is not whole."""
        places = [list[int]() for _ in range(partitions)]
        self._lines.seek(0, 2)
        size = self._lines.tell()
        self._lines.seek(0)
        position = len(self._lines.readline())
        for number, line in enumerate(self._lines, start=2):
            exported = self._decode(number, line)
            if exported is None:
                advance(size, size)
                return places
            key = exported.saga_id.encode()
            places[home(key, partitions)].append(position)
            self.states[decode_head(bytes(exported.record)).current_state] += 1
            self.sagas += 1
            position += len(line)
            if number % _LINES_PER_STEP == 0:
                advance(position, size)
        raise self._problem("the export was cut off: its last line, which says how many sagas it has, is missing")

    def sagas_at(self, places: Sequence[int]) -> Iterator[tuple[bytes, bytes]]:
        """Keys and records of the lines that begin there."""
        for place in places:
            self._lines.seek(place)
            exported = decode_export_line(self._lines.readline())
            assert type(exported) is ExportedSaga
            yield exported.saga_id.encode(), bytes(exported.record)

    def _decode(self, number: int, line: bytes) -> ExportedSaga | None:
        """The saga of a line; None for the last line."""
        try:
            decoded = decode_export_line(line)
        except ExportError as error:
            raise self._problem(f"line {number}: {error}") from None
        if type(decoded) is ExportedSaga:
            return decoded
        if decoded.sagas != self.sagas:
            raise self._problem(f"the export has {self.sagas} sagas, and its last line says {decoded.sagas}")
        return None

    def _read_head(self) -> ExportHead:
        try:
            return decode_export_head(self._lines.readline())
        except ExportError as error:
            raise self._problem(str(error)) from None

    def _problem(self, message: str) -> ConfigurationError:
        return ConfigurationError.of(self._name, "export-invalid", f"{message}; nothing was imported")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("export", metavar="EXPORT", help="the file that `sagas export` made; - is the standard input")
    add_log_options(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (%(default)s)")


def _run(arguments: argparse.Namespace) -> int:
    resource = load_source(arguments)
    options = read_log_options(arguments)
    with _open_export(arguments.export) as file, progress_bars(error_console()) as progress:
        advances = add_bar(progress, "reading"), add_bar(progress, "importing")
        report = asyncio.run(_import(resource, options, file, *advances))
    if arguments.output == "json":
        print(_to_json(report, resource.metadata.name))
    else:
        _print_report(output_console(), report, resource.metadata.name)
    return EXIT_PROBLEM if report.counts[ImportOutcome.CONFLICT] else EXIT_OK


@contextmanager
def _open_export(name: str) -> Generator[ExportFile]:
    """The file; the standard input is copied aside first, because it is read more than once."""
    if name == STANDARD_INPUT:
        with tempfile.TemporaryFile(prefix="flowmachine-import-") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            copy.seek(0)
            yield ExportFile("standard input", copy)
        return
    try:
        lines = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        detail = error.strerror or str(error)
        raise ConfigurationError.of(name, "file-not-readable", f"cannot be read: {detail}") from error
    with lines:
        yield ExportFile(name, lines)


async def _import(
    resource: "FlowMachine", options: "RunOptions", file: ExportFile, read: Advance, advance: Advance
) -> Report:
    from flowmachine.app import build_log, kafka_access
    from flowmachine.config.build import build_machine
    from flowmachine.runtime.importing import import_partition

    report = Report(file.head)
    machine = build_machine(resource)
    log = build_log(resource, options, kafka_access(resource, options))
    topics = await log.start()
    try:
        places = file.index(topics.home_partitions, read)
        report.unknown_states = Counter({s: n for s, n in file.states.items() if s not in machine.states})
        done = 0
        for partition, own in enumerate(places):
            if own:
                await import_partition(log, topics, partition, partial(file.sagas_at, own), report.add)
            done += len(own)
            advance(done, file.sagas)
    finally:
        await log.stop()
    return report


def _to_json(report: Report, machine: str) -> str:
    document = {
        "machine": machine,
        "from": {"machine": report.head.machine, "exportedAt": report.head.exported_at},
        "sagas": report.counts.total(),
        "counts": {outcome.value: report.counts[outcome] for outcome in ImportOutcome},
        "examples": {outcome.value: ids for outcome, ids in report.examples.items()},
        "unknownStates": dict(report.unknown_states),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _print_report(console: Console, report: Report, machine: str) -> None:
    head = report.head
    source = f"{count(report.counts.total(), 'saga')} of {head.machine}, exported {head.exported_at}, to {machine}"
    console.print(Text(clean_text(source), "bold"))
    for outcome, meaning in _MEANINGS.items():
        if not report.counts[outcome]:
            continue
        style = "red" if outcome is ImportOutcome.CONFLICT else ""
        console.print(Text(f"  {report.counts[outcome]:>9}  {outcome.value:<10}  they {meaning}", style))
        if outcome in {ImportOutcome.NEWER_HERE, ImportOutcome.CONFLICT}:
            for saga_id in report.examples[outcome]:
                console.print(Text(f"             {clean_text(saga_id)}", "dim"))
    for state, number in sorted(report.unknown_states.items()):
        said = (
            f"  ! {count(number, 'saga')} in state {clean_text(state)!r}, which the machine does not have: their events"
        )
        console.print(Text(f"{said} are held until it does", "yellow"))


IMPORT: Final = Command(
    name="import",
    summary="bring the sagas of an export into a machine's log",
    configure=_configure,
    run=_run,
    details="A saga that has gone as far here, or further, stays as it is; doing it twice changes nothing.\n"
    "On Kafka engines may run: each home partition pauses for some seconds while it is written. The embedded\n"
    "log's engine must be stopped.\n"
    "Exit code 1: something is wrong, or a saga is here in another form (it has been printed).",
)
