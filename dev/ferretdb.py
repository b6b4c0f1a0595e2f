"""A MongoDB-compatible server with users: `with FerretDbServer() as server: connect(server.uri_of("u", PASSWORD))`.

FerretDB on SQLite, built by Go and kept in the user's cache folder. It has credentials (SCRAM), but no rights of users:
who is let in may do everything. A server ends with the process that started it.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dev.kafka.addresses import LOOPBACK, find_free_ports, locked
from dev.kafka.errors import ProvisionError, ToolMissingError
from dev.kafka.provision import cache_root

VERSION: Final = "v1.24.2"
USER: Final = "engine"
PASSWORD: Final = "secret-of-the-tests"  # noqa: S105 - of a server that lives for seconds, on the loopback address
DATABASE: Final = "orders"
_MODULE: Final = "github.com/FerretDB/FerretDB"
_BUILD_SECONDS_MAX: Final = 900
_START_SECONDS_MAX: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1


def provision() -> Path:
    """The program. Raises ToolMissingError without Go, ProvisionError when Go cannot build it."""
    program = cache_root() / f"ferretdb-{VERSION}"
    with locked(program.with_name(f"{program.name}.lock")):
        if not program.is_file():
            _build(program)
    return program


def _build(program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ToolMissingError("No `go` on PATH: install Go 1.23 or newer; tests with MongoDB's users need FerretDB.")
    with tempfile.TemporaryDirectory(prefix=f"{program.name}.tmp-", dir=program.parent) as folder:
        found = json.loads(_run([go, "mod", "download", "-json", f"{_MODULE}@{VERSION}"], cwd=folder))
        source = Path(folder) / "source"
        shutil.copytree(found["Dir"], source)
        for path in (source, *source.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)  # Go keeps modules read-only
        # The program wants its version in a file that is not part of the module.
        (source / "build/version/version.txt").write_text(VERSION)
        _run([go, "build", "-trimpath", "-o", str(Path(folder) / "ferretdb"), "./cmd/ferretdb"], cwd=str(source))
        (Path(folder) / "ferretdb").rename(program)


def _run(command: list[str], *, cwd: str) -> str:
    try:
        result = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=_BUILD_SECONDS_MAX
        )
    except subprocess.TimeoutExpired as error:
        raise ProvisionError(f"Go did not build FerretDB within {_BUILD_SECONDS_MAX} s.") from error
    if result.returncode != 0:
        raise ProvisionError(f"Go could not build FerretDB: {result.stderr[-1000:]}")
    return result.stdout


class FerretDbServer:
    """A server of its own, with one user and one database."""

    def __init__(self) -> None:
        self._program = provision()
        self._folder = Path(tempfile.mkdtemp(prefix="flowmachine-ferretdb-"))
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = find_free_ports(1)

    def uri_of(self, user: str, password: str) -> str:
        """Where a user connects; his name and password belong to the database."""
        return f"mongodb://{user}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def anonymous_uri(self) -> str:
        """Where somebody connects who does not say who he is."""
        return f"mongodb://{LOOPBACK}:{self.port}/{DATABASE}"

    def __enter__(self) -> Self:
        options = {
            "handler": "sqlite",
            "sqlite-url": f"file:{self._folder}/",
            "state-dir": str(self._folder),
            "listen-addr": f"{LOOPBACK}:{self.port}",
            "debug-addr": "-",
            "telemetry": "disable",
            "setup-database": DATABASE,
            "setup-username": USER,
            "setup-password": PASSWORD,
        }
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, "--test-enable-new-auth", *(f"--{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=log,
                env={**os.environ, "DO_NOT_TRACK": "1"},
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self._folder / "log").read_text("utf-8", "replace")[-2000:]
                self.__exit__(None, None, None)
                raise ProvisionError(f"FerretDB did not start:\n{text}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
