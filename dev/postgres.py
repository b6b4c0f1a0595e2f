"""A real PostgreSQL server in a temporary folder: `with PostgresServer() as server: connect(server.uri)`.

Debian's package `postgresql` brings the programs; nothing of it needs to run. As root the server runs as the user
`nobody`, because it refuses to run as root. A server ends with the process that started it, however that ends.

    python -m dev.postgres      # runs one until Ctrl-C and prints its URI
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dev.kafka.addresses import LOOPBACK, find_free_ports, locked
from dev.kafka.errors import ProvisionError, ToolMissingError
from dev.kafka.provision import cache_root

PASSWORD: Final = "secret-of-the-tests"  # noqa: S105 - of a server that lives for minutes, on the loopback address
_START_SECONDS_MAX: Final = 60.0
_INSTALL_SECONDS_MAX: Final = 600.0
_PR_SET_PDEATHSIG: Final = 1
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


class PostgresServer:
    """A server of its own, with the user and database `postgres`."""

    def __init__(self) -> None:
        self._programs = provision()
        self._folder = Path(tempfile.mkdtemp(prefix="flowmachine-postgres-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = find_free_ports(1)

    @property
    def uri(self) -> str:
        """Where the superuser connects."""
        return self.uri_of("postgres", PASSWORD)

    def uri_of(self, user: str, password: str, database: str = "postgres") -> str:
        """Where another user connects."""
        return f"postgresql://{user}:{password}@{LOOPBACK}:{self.port}/{database}"

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._data),
                    "-p",
                    str(self.port),
                    "-k",
                    str(self._folder),
                    *settings,
                ],
                stdout=log,
                stderr=log,
                user=self._user,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self._folder / "log").read_text("utf-8", "replace")[-2000:]
                raise ProvisionError(f"PostgreSQL did not start:\n{text}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; `start` brings it back with what was committed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
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
        return self._folder / "data"

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD + "\n", "utf-8")
        if self._user is not None:
            for path in (self._folder, password):
                shutil.chown(path, self._user)
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
        result = subprocess.run(command, user=self._user, capture_output=True, text=True, check=False, cwd="/")
        if result.returncode != 0:
            raise ProvisionError(f"initdb failed:\n{result.stderr[-2000:]}")

    def _is_ready(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port), "-t", "2"]
        return subprocess.run(command, check=False).returncode == 0

    def _processes(self) -> list[int]:
        if self._process is None:
            return []
        parent = self._process.pid
        found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
        return [parent, *map(int, found.stdout.split())]

    def _wait_for_children(self) -> None:
        """The others notice that the first process is gone; until then they hold the shared memory."""
        deadline = time.monotonic() + _START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = subprocess.run(["pgrep", "-f", f"postgres.*{self._data}"], capture_output=True, check=False)
            if not found.stdout:
                return
            time.sleep(0.05)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
