"""A real PostgreSQL server in a temporary folder: `with PostgresServer() as server: connect(server.uri)`.

Debian's package `postgresql` brings the programs; nothing of it needs to run. As root the server runs as the user
`nobody`, because it refuses to run as root. A server ends with the process that started it, however that ends.

    python -m dev.postgres      # runs one until Ctrl-C and prints its URI
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dev.addresses import LOOPBACK
from dev.cache import cache_root, locked
from dev.errors import ProvisionError, ToolMissingError
from dev.server import Server

PASSWORD: Final = "secret-of-the-tests"  # noqa: S105 - of a server that lives for minutes, on the loopback address
_CHILDREN_SECONDS_MAX: Final = 60.0
_INSTALL_SECONDS_MAX: Final = 600.0
_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "fsync": "off",  # a test's server need not survive a power cut
    "shared_buffers": "64MB",
    "max_connections": "50",
}


def provision() -> Path:
    """The folder of the newest `initdb`. As root on Debian the package is installed if it is missing."""
    found = _find_programs()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with locked(cache_root() / "postgres.lock"):
            found = _find_programs() or _install()
    if found is None:
        raise ToolMissingError("No PostgreSQL server: install it (Debian: apt install postgresql).")
    return found


def _find_programs() -> Path | None:
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    complete = [folder for folder in candidates if (folder / "initdb").exists() and (folder / "postgres").exists()]
    return max(complete, key=lambda folder: (len(folder.parent.name), folder.parent.name), default=None)


def _install() -> Path:
    """Install the package without the cluster that Debian would make and start."""
    configuration = Path("/etc/postgresql-common/createcluster.conf")
    if not configuration.exists():
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text("create_main_cluster = false\n", "utf-8")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "--no-install-recommends", "postgresql"],
    ):
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS_MAX
        )
        if result.returncode != 0:
            raise ProvisionError(f"{' '.join(command)} failed:\n{result.stderr[-1000:]}")
    found = _find_programs()
    if found is None:
        raise ProvisionError("apt-get installed postgresql, but there is no initdb")
    return found


class PostgresServer(Server):
    """A server of its own, with the user and database `postgres`."""

    name = "PostgreSQL"

    def __init__(self) -> None:
        self._programs = provision()
        super().__init__()

    @property
    def uri(self) -> str:
        """Where the superuser connects."""
        return self.uri_of("postgres", PASSWORD)

    def uri_of(self, user: str, password: str, database: str = "postgres") -> str:
        """Where another user connects."""
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers."""
        if not self._data.exists():
            self._initialise()
        super().start()

    def command(self) -> list[str]:
        """The program and its arguments."""
        options = ["-D", str(self._data), "-p", str(self.port), "-k", str(self.folder)]
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), *options, *settings]

    def user(self) -> str | None:
        """PostgreSQL refuses to run as root."""
        return "nobody" if os.geteuid() == 0 else None

    def answers(self) -> bool:
        """Whether it accepts connections."""
        command = [str(self._programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """SIGKILL; `start` brings it back with what was committed."""
        super().kill()
        self._wait_for_children()

    def pause(self) -> None:
        """Stop accepting and answering, without closing a connection (SIGSTOP of every process)."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n", "utf-8")
        if (user := self.user()) is not None:
            for path in (self.folder, password):
                shutil.chown(path, user)
        command = [
            str(self._programs / "initdb"),
            "-D",
            str(self._data),
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "scram-sha-256",
            f"--pwfile={password}",
            "--no-sync",
        ]
        result = subprocess.run(command, user=user, capture_output=True, text=True, check=False, cwd="/")
        if result.returncode != 0:
            raise ProvisionError(f"initdb failed:\n{result.stderr[-2000:]}")

    def _processes(self) -> list[int]:
        if self.process is None:
            return []
        parent = self.process.pid
        found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
        return [parent, *map(int, found.stdout.split())]

    def _wait_for_children(self) -> None:
        """The others notice that the first process is gone; until then they hold the shared memory."""
        deadline = time.monotonic() + _CHILDREN_SECONDS_MAX
        while time.monotonic() < deadline:
            found = subprocess.run(["pgrep", "-f", f"postgres.*{self._data}"], capture_output=True, check=False)
            if not found.stdout:
                return
            time.sleep(0.05)


def main() -> None:
    """Run one until Ctrl-C."""
    with PostgresServer() as server:
        print(server.uri, flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
