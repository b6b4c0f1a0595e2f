"""`flowmachine demo` as a newcomer runs it, in a process of its own."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.cli.demo.audit import audit
from flowmachine.cli.demo.board import Board
from flowmachine.config.build import build_machine
from flowmachine.config.load import load_text
from flowmachine.wire.message import decode_message
from tests.support.eventually import eventually

ENGINE = Path(__file__).parents[2] / "engine"
DEMO_SECONDS_MAX = 60.0


async def start_demo(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), "TMPDIR": str(folder), "PYTHONIOENCODING": "utf-8"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "flowmachine", "demo", *arguments),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run_demo(folder: Path, *arguments: str) -> tuple[int, str]:
    process = await start_demo(folder, *arguments)
    try:
        async with asyncio.timeout(DEMO_SECONDS_MAX):
            output, _ = await process.communicate()
    except TimeoutError:
        process.terminate()  # not killed: it has an engine to stop
        output, _ = await process.communicate()
        pytest.fail(f"the demo took more than {DEMO_SECONDS_MAX:.0f} s:\n{output.decode()}")
    assert process.returncode is not None
    return process.returncode, output.decode()


def engines_on(folder: Path) -> list[int]:
    """Processes that run an engine below `folder`."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"run" in arguments and any(str(folder).encode() in argument for argument in arguments):
            found.append(int(process.name))
    return found


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_demo_finishes_every_order_and_tells_about_it(tmp_path: Path) -> None:
    code, output = await run_demo(tmp_path, "--sagas", "40")
    assert code == 0, output
    assert "Nothing was lost: all 40 orders" in output
    assert "Nothing was done twice: 106 commands" in output  # 40 + 34 paid + 32 prepared
    assert "asks for executePayment" in output
    assert "p99" in output
    assert "● created [executePayment]" in output
    assert "demo --kill" in output
    assert "Traceback" not in output
    assert sorted(path.name for path in files_below(tmp_path)) == ["orders.svg", "orders.yaml"]


@pytest.mark.slow
async def test_demo_that_kills_its_engine_loses_and_doubles_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    code, output = await run_demo(tmp_path, "--sagas", "40", "--kill", "--keep", str(kept))
    assert code == 0, output
    assert "Kill 1 came after" in output
    assert "Kill 2 came after" in output
    assert "Nothing was lost: all 40 orders" in output
    assert engines_on(tmp_path) == []
    # The demo's own words are one thing; the log that it left behind is another.
    machine = build_machine(load_text((kept / "orders.yaml").read_bytes(), "orders.yaml"))
    board = Board()
    async with EmbeddedClient(kept / "orders.db") as client:
        for record in await client.read_all("flowmachine.orders.sagas"):
            board.note(record)
        commands = await client.read_all("orders-commands")
    labels = [((record.key or b"").decode(), decode_message(record.value).message_label) for record in commands]
    ids = {saga.associated_entity_id: saga_id for saga_id, saga in board.sagas.items()}
    assert len(ids) == len(board.sagas) == board.finished == 40
    assert audit(machine, ids, board.sagas, labels).is_clean


async def test_demo_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await start_demo(tmp_path, "--sagas", "400")
    try:
        await eventually(lambda: list(tmp_path.glob("flowmachine-demo-*/orders.db")), "the engine has started")
    finally:
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert process.returncode == 130
    assert output.decode().endswith("Stopped.\n")
    assert files_below(tmp_path) == []
    assert engines_on(tmp_path) == []


async def test_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    code, output = await run_demo(tmp_path, "--keep", str(tmp_path))
    assert code == 1
    assert "is not empty; --keep needs a new or an empty folder" in output
    assert "Traceback" not in output
