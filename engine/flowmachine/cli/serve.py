"""An engine in this process, until SIGTERM.

The first line on the standard output says what runs, once the HTTP API listens; in the JSON log format it is an object,
for programs that start an engine on a free port (`--http 127.0.0.1:0`):

    {"message":"running","machine":"orders","url":"http://127.0.0.1:8080","log":"embedded log ...","pid":4711}

Log lines go to the standard error output. The engine may still wait for its log then: `/-/ready` says when it is ready.
"""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from flowmachine.adapters.embedded.lock import EngineLock
from flowmachine.adapters.kafka import read_lean_records
from flowmachine.app import RunOptions, StartedEngine, embedded_path, run_engine, run_projector
from flowmachine.cli.logs import is_pretty_format, to_json_line
from flowmachine.config.resource import FlowMachine
from flowmachine.errors import ConfigurationError

GARBAGE_COLLECTION_OBJECTS = 50_000
"""Objects between two looks for cycles; a few megabytes at the most wait for the next one."""


def serve(resource: FlowMachine, arguments: argparse.Namespace) -> None:
    """Run the machine until it is asked to stop. Raises ConfigurationError for what the user must change."""
    options = _options(resource, arguments, advertise=arguments.advertise, is_projecting=not arguments.no_projector)
    if options.is_embedded:
        check_data_dir(embedded_path(resource, options))
    is_pretty = is_pretty_format(arguments.log_format, sys.stderr)

    def say_started(started: StartedEngine) -> None:
        print(start_line(resource.metadata.name, started, is_pretty=is_pretty), flush=True)

    _run_loop(run_engine(resource, options, on_started=say_started))


def project(resource: FlowMachine, arguments: argparse.Namespace) -> None:
    """Keep the store up to date until asked to stop. Raises ConfigurationError for what the user must change."""
    options = _options(resource, arguments, advertise=None, is_projecting=True)
    is_pretty = is_pretty_format(arguments.log_format, sys.stderr)

    def say_started(url: str, log: str) -> None:
        name = resource.metadata.name
        entry = {"message": "projecting", "machine": name, "url": url, "log": log, "pid": os.getpid()}
        text = f"The sagas of {name} are copied to its store: {url}, from the {log}. Ctrl-C stops it."
        print(text if is_pretty else to_json_line(entry), flush=True)

    _run_loop(run_projector(resource, options, on_started=say_started))


def _options(
    resource: FlowMachine, arguments: argparse.Namespace, *, advertise: str | None, is_projecting: bool
) -> RunOptions:
    host, port = arguments.http
    return RunOptions(
        http_host=host,
        http_port=port,
        advertise=advertise,
        is_embedded=arguments.embedded or not any(channel.kafka for channel in resource.spec.channels),
        data_dir=arguments.data_dir,
        secrets_dir=arguments.secrets_dir,
        is_projecting=is_projecting,
    )


def check_data_dir(path: Path) -> None:
    """Raise ConfigurationError if an embedded log cannot be at `path`, or another engine has it now.

    The engine takes the lock itself, and would wait for it; whoever has started it should know at once.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        detail = "it is a file" if isinstance(error, FileExistsError) else error.strerror or str(error)
        message = f"the folder cannot be made: {detail}; name another one with --data-dir"
        raise ConfigurationError.of(str(path.parent), "data-dir", message) from error
    lock = EngineLock(path)
    lock.acquire()
    lock.release()


def start_line(machine: str, started: StartedEngine, *, is_pretty: bool) -> str:
    """What runs, where its HTTP API is, and which log it is on."""
    if is_pretty:
        return f"{machine} runs: {started.url}, on the {started.log}. Ctrl-C stops it."
    entry = {"message": "running", "machine": machine, "url": started.url, "log": started.log, "pid": os.getpid()}
    return to_json_line(entry)


def _run_loop(work: Coroutine[None, None, None]) -> None:
    _relax_garbage_collection()
    read_lean_records()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _relax_garbage_collection() -> None:
    """Look for cycles less often: a batch makes thousands of objects and, apart from errors, no cycles.

    With Python's own thresholds the collector took a tenth of the time that planning batches takes (`gc.callbacks`).
    """
    gc.collect()
    gc.freeze()  # what was imported stays for good, and need not be looked at again
    gc.set_threshold(GARBAGE_COLLECTION_OBJECTS, 20, 100)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed: it is faster than asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
