"""A MongoDB-compatible server with users: `with FerretDbServer() as server: connect(server.uri_of("u", PASSWORD))`.

FerretDB on SQLite, built by Go and kept in the user's cache folder. It has credentials (SCRAM), but no rights of users:
who is let in may do everything. A server ends with the process that started it.
"""

import json
import shutil
import socket
from pathlib import Path
from typing import Final

from dev.addresses import LOOPBACK
from dev.go_program import GoProgram
from dev.server import Server

USER: Final = "engine"
PASSWORD: Final = "secret-of-the-tests"  # noqa: S105 - of a server that lives for seconds, on the loopback address
DATABASE: Final = "orders"
_MODULE: Final = "github.com/FerretDB/FerretDB"
_PROGRAM: Final = GoProgram(name="ferretdb", version="v1.24.2", purpose="tests with MongoDB's users need FerretDB")


def provision() -> Path:
    """The program. Raises ToolMissingError without Go, ProvisionError when Go cannot build it."""
    return _PROGRAM.provide(_build)


def _build(program: GoProgram, target: Path) -> None:
    found = json.loads(program.run_go("mod", "download", "-json", f"{_MODULE}@{program.version}", cwd=target.parent))
    source = target.parent / "source"
    shutil.copytree(found["Dir"], source)
    for path in (source, *source.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)  # Go keeps modules read-only
    # The program wants its version in a file that is not part of the module.
    (source / "build/version/version.txt").write_text(program.version)
    program.run_go("build", "-trimpath", "-o", str(target), "./cmd/ferretdb", cwd=source)


class FerretDbServer(Server):
    """A server of its own, with one user and one database."""

    name = "FerretDB"
    start_seconds_max = 30.0

    def __init__(self) -> None:
        self._program = provision()
        super().__init__()

    def uri_of(self, user: str, password: str) -> str:
        """Where a user connects; his name and password belong to the database."""
        return f"mongodb://{user}:{password}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def anonymous_uri(self) -> str:
        """Where somebody connects who does not say who he is."""
        return f"mongodb://{LOOPBACK}:{self.port}/{DATABASE}"

    def command(self) -> list[str]:
        """The program and its arguments."""
        options = {
            "handler": "sqlite",
            "sqlite-url": f"file:{self.folder}/",
            "state-dir": str(self.folder),
            "listen-addr": f"{LOOPBACK}:{self.port}",
            "debug-addr": "-",
            "telemetry": "disable",
            "setup-database": DATABASE,
            "setup-username": USER,
            "setup-password": PASSWORD,
        }
        return [str(self._program), "--test-enable-new-auth", *(f"--{name}={value}" for name, value in options.items())]

    def environment(self) -> dict[str, str]:
        """It sends no telemetry."""
        return {"DO_NOT_TRACK": "1"}

    def answers(self) -> bool:
        """Whether it listens."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True
