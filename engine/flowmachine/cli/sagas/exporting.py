"""`sagas export`: the latest record of every saga as JSON lines (`flowmachine.wire.export`)."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from rich.text import Text

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.log_options import add_log_options, read_log_options
from flowmachine.cli.output import error_console
from flowmachine.cli.problem_text import count
from flowmachine.cli.progress import Advance, add_bar, progress_bars
from flowmachine.cli.source import load_source
from flowmachine.errors import ConfigurationError

if TYPE_CHECKING:
    from flowmachine.app import RunOptions
    from flowmachine.config.resource import FlowMachine

STANDARD_OUTPUT: Final = "-"


def _configure(parser: argparse.ArgumentParser) -> None:
    add_log_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=STANDARD_OUTPUT,
        help="where to; - is the standard output (%(default)s)",
    )


def _run(arguments: argparse.Namespace) -> int:
    resource = load_source(arguments)
    options = read_log_options(arguments)
    with _open_output(arguments.output) as output, progress_bars(error_console()) as progress:
        sagas, partitions = asyncio.run(_export(resource, options, output, add_bar(progress, "exporting")))
    said = f"{count(sagas, 'saga')} of {count(partitions, 'home partition')} exported"
    error_console().print(Text(said, "green"))
    return EXIT_OK


@contextmanager
def _open_output(name: str) -> Generator[BinaryIO]:
    """A file under its name only once it is whole; the standard output as it is."""
    if name == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with unfinished.open("wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        detail = error.strerror or str(error)
        raise ConfigurationError.of(name, "file-not-writable", f"cannot be written: {detail}") from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


async def _export(
    resource: "FlowMachine", options: "RunOptions", output: BinaryIO, advance: Advance
) -> tuple[int, int]:
    """Write all sagas; how many, and of how many partitions. Memory holds one partition's sagas at a time."""
    from flowmachine.cli.log_reader import open_reader
    from flowmachine.config.build import build_machine
    from flowmachine.config.topic_names import internal_topics
    from flowmachine.core.timestamps import format_timestamp
    from flowmachine.wire.export import EXPORT_VERSION, ExportEnd, ExportHead, build_exported, encode_line
    from flowmachine.wire.journal import is_control

    machine = build_machine(resource)
    topic = internal_topics(resource).sagas
    exported_at = format_timestamp(time.time_ns() // 1_000_000)
    sagas = 0
    async with open_reader(resource, options) as log:
        partitions = (await log.partition_counts([topic]))[topic]
        output.write(encode_line(ExportHead(EXPORT_VERSION, machine.name, machine.revision, exported_at)))
        bounds = [await log.bounds(topic, partition) for partition in range(partitions)]
        total, done = sum(end - start for start, end in bounds), 0
        for partition, (start, end) in enumerate(bounds):
            latest: dict[bytes, bytes] = {}
            async for records in log.read(topic, partition, start, end):
                for record in records:
                    if is_control(record.key):
                        continue
                    if record.key and record.value:
                        latest[record.key] = record.value
                    elif record.key:
                        latest.pop(record.key, None)
                advance(done + records[-1].offset + 1 - start, total)
            for key, value in latest.items():
                output.write(encode_line(build_exported(key, value)))
            sagas += len(latest)
            done += end - start
            advance(done, total)
    output.write(encode_line(ExportEnd(sagas)))
    return sagas, partitions


EXPORT: Final = Command(
    name="export",
    summary="copy all sagas of a machine to a file, as JSON lines",
    configure=_configure,
    run=_run,
    details="Reads the machine's log, and disturbs no engine. Each home partition is copied as one of its\n"
    "transactions left it.",
)
