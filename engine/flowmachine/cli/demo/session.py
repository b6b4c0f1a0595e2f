"""The demo from its first line to its exit code: the folder, the order of things, errors in sentences."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final, cast

from rich.console import Console
from rich.text import Text

from flowmachine.cli.command import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM
from flowmachine.cli.demo.board import Board
from flowmachine.cli.demo.display import headline, open_display
from flowmachine.cli.demo.engine import EngineProcess
from flowmachine.cli.demo.report import outcome_graph, print_report
from flowmachine.cli.demo.scenario import Outcome, Place, Stage, run_scenario
from flowmachine.cli.demo.workload import Ledger, make_orders
from flowmachine.cli.output import PlainConsole, write_output
from flowmachine.config.build import build_machine
from flowmachine.config.load import load_text
from flowmachine.diagram import render_svg
from flowmachine.errors import ConfigurationError, FlowMachineError

SEED: Final = 1
"""The same orders every time: what differs between two runs is not the work."""
PLAIN_COLUMNS: Final = 100
_AnyGroup = BaseExceptionGroup[BaseException]
DRAWING_NAME: Final = "orders.svg"
MACHINE_NAME: Final = "orders.yaml"


def run_demo(*, orders_count: int, has_kills: bool, keep: str | None) -> int:
    """Run it, print it, and return the exit code: 1 if anything was lost or done twice, or did not work."""
    console = make_console()
    with _open_folder(keep) as folder:
        try:
            machine_file = folder / MACHINE_NAME
            machine_file.write_bytes((files("flowmachine") / "examples" / MACHINE_NAME).read_bytes())
            outcome = _run(console, machine_file, folder, orders_count=orders_count, has_kills=has_kills)
            drawing = folder / DRAWING_NAME
            write_output(str(drawing), render_svg(outcome_graph(outcome)))
            print_report(console, outcome, drawing, machine_file)
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print(Text("Stopped.", "bold"))
            _clear(folder, is_kept=keep is not None)
            return EXIT_INTERRUPTED
        except BrokenPipeError:
            _clear(folder, is_kept=keep is not None)
            raise
        except FlowMachineError as error:
            console.print(Text.assemble(("✗ ", "bold red"), f"The demo did not work: {error}"))
            console.print(f"What is left is in {folder}", soft_wrap=True)
            return EXIT_PROBLEM
        if not outcome.audit.is_clean:
            console.print(f"The log is in {folder}", soft_wrap=True)
            return EXIT_PROBLEM
        _clear(folder, is_kept=keep is not None, left=(drawing, machine_file))
        return EXIT_OK


def make_console() -> Console:
    """The standard output; what is not a terminal is as wide as we like."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=PLAIN_COLUMNS)


def _run(console: Console, machine_file: Path, folder: Path, *, orders_count: int, has_kills: bool) -> Outcome:
    resource = load_text(machine_file.read_bytes(), machine_file.name)
    place = Place(resource, folder / f"{resource.metadata.name}.db")
    stage = Stage(
        machine=build_machine(resource),
        orders=make_orders(orders_count, SEED),
        board=Board(),
        ledger=Ledger(),
        engine=EngineProcess(machine_file, folder),
    )
    console.print(Text(headline(stage)))
    console.print()
    with open_display(console, stage) as display, asyncio.Runner() as runner:
        return runner.run(_run_until_signal(place, stage, has_kills=has_kills, show=display.show))


async def _run_until_signal(place: Place, stage: Stage, *, has_kills: bool, show: Callable[[], None]) -> Outcome:
    """The scenario; signals that ask us to end cancel it, so that the engine does not stay behind."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await run_scenario(place, stage, has_kills=has_kills, show=show)
    except BaseExceptionGroup as group:
        raise _first_error(group) from group


def _first_error(group: _AnyGroup) -> BaseException:
    """What went wrong first; what followed from it is left to the traceback."""
    error = group.exceptions[0]
    return _first_error(cast(_AnyGroup, error)) if isinstance(error, BaseExceptionGroup) else error


@contextmanager
def _open_folder(keep: str | None) -> Generator[Path]:
    """An empty folder of our own. Raises ConfigurationError."""
    if keep is None:
        yield Path(tempfile.mkdtemp(prefix="flowmachine-demo-"))
        return
    folder = Path(keep)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        detail = error.strerror or str(error)
        raise ConfigurationError.of(keep, "folder", f"cannot be used as a folder: {detail}") from error
    if not is_empty:
        raise ConfigurationError.of(keep, "folder-not-empty", "is not empty; --keep needs a new or an empty folder")
    yield folder


def _clear(folder: Path, *, is_kept: bool, left: Collection[Path] = ()) -> None:
    """Remove all but `left`, unless the folder was asked for."""
    if is_kept:
        return
    if not left:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path not in left:
            with contextlib.suppress(OSError):
                path.unlink()
