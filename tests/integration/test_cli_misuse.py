"""`flowmachine` as a process, used badly: output that goes nowhere, Ctrl-C before anything has begun, no Kafka there.

Whatever happens, people get a sentence and a program gets an exit code; nobody gets a traceback.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

from dev.addresses import LOOPBACK, find_free_ports
from dev.engine_process import EngineProcess

ENGINE = Path(__file__).parents[2] / "engine"
EXAMPLE = ENGINE / "flowmachine/examples/orders.yaml"
SECONDS_MAX = 60.0
IGNORED = {"CONFIGURATIONS_FILE_PATH", "SAGA_ID_PREFIX", "LOG_LEVEL", "HTTP_HOST", "HTTP_PORT", "FORCE_COLOR"}


def command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "flowmachine", *arguments)


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in IGNORED} | {"PYTHONPATH": str(ENGINE)}


def run(*arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "-f", str(EXAMPLE)),
        ("check", "-f", str(EXAMPLE), "--output", "json"),
        ("diagram", "-f", str(EXAMPLE)),
        ("import", str(ENGINE.parent / "examples/flow-manager/saga.json")),
    ],
)
def test_reader_that_has_seen_enough_ends_the_command(arguments: tuple[str, ...]) -> None:
    """`flowmachine check ... | head -1`: no code that says that all is well, or that something is wrong."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(*arguments, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize(("name", "code"), [("check", 1), ("diagram", 1), ("audit", 2)])
def test_full_disk_under_the_output_is_a_sentence(tmp_path: Path, name: str, code: int) -> None:
    options = ["-f", str(EXAMPLE)]
    if name == "audit":
        make_log(tmp_path)
        options += ["--embedded", "--data-dir", str(tmp_path)]
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = run(name, *options, stdout=full)
    assert done.returncode == code
    assert "cannot be written: No space left on device" in done.stderr


def make_log(folder: Path) -> None:
    """Run an engine until its topics are there."""
    engine = EngineProcess(EXAMPLE, "--embedded", "--data-dir", str(folder), log_path=folder / "log").start()
    assert engine.terminate() == 0


def test_closed_output_is_nowhere_to_write_to() -> None:
    shell = 'exec "$@" >&-'
    arguments = ["bash", "-c", shell, "bash", *command("diagram", "-f", str(EXAMPLE))]
    done = subprocess.run(
        arguments, env=environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [("check", "-f", "-"), ("import", "-")])
def test_closed_input_is_an_empty_file(arguments: tuple[str, ...]) -> None:
    shell = ["bash", "-c", 'exec "$@" <&-', "bash", *command(*arguments)]
    done = subprocess.run(shell, env=environment(), capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 1
    assert "standard input" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["audit", "run"])
def test_folder_that_cannot_be_looked_into_is_a_sentence(tmp_path: Path, name: str) -> None:
    """By a name that no file system takes: what root may not look into does not exist."""
    done = run(name, "-f", str(EXAMPLE), "--embedded", "--data-dir", str(tmp_path / ("x" * 300)))
    assert done.returncode == (2 if name == "audit" else 1)
    assert "File name too long" in done.stderr


_INTERRUPTS = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
"""


@pytest.mark.parametrize("module", ["flowmachine.cli.main", "rich.console", "flowmachine.cli.audit.session"])
def test_ctrl_c_ends_it_in_silence_however_early(tmp_path: Path, module: str) -> None:
    """At the first import of ours, in the middle of them, and when the command imports what it needs."""
    (tmp_path / "sitecustomize.py").write_text(_INTERRUPTS.format(module=module), "utf-8")
    done = subprocess.run(
        command("audit", "-f", str(EXAMPLE)),
        env=environment() | {"PYTHONPATH": f"{tmp_path}:{ENGINE}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode in {-signal.SIGINT, 128 + signal.SIGINT}
    assert (done.stdout, done.stderr) == ("", "")


@contextmanager
def listener() -> Iterator[int]:
    """Somebody who listens on a port, and hangs up on everybody."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def refuse() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        thread = Thread(target=refuse)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def machine_on(folder: Path, port: int) -> Path:
    text = EXAMPLE.read_text("utf-8")
    file = folder / "orders.yaml"
    assert "localhost:9092" in text
    file.write_text(text.replace("localhost:9092", f"{LOOPBACK}:{port}"), "utf-8")
    return file


@pytest.mark.parametrize("arguments", [("audit",), ("sagas", "export")])
def test_kafka_that_is_not_there_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (port,) = find_free_ports(1)
    done = run(*arguments, "-f", str(machine_on(tmp_path, port)))
    assert done.returncode == (2 if arguments == ("audit",) else 1)
    assert f"no Kafka broker answers ({LOOPBACK}:{port}: Connection refused): is it up" in done.stderr
    assert done.stdout == ""
    assert "Unable connect" not in done.stderr, "what a library logs is not for people"


def test_broker_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with listener() as port:
        done = run("audit", "-f", str(machine_on(tmp_path, port)))
    assert done.returncode == 2
    assert f"{LOOPBACK}:{port}: it does not answer as a broker does" in done.stderr
