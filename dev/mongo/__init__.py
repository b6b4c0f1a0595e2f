"""A server that speaks MongoDB's protocol, in a temporary folder: `with MongoServer() as server: connect(server.uri)`.

It is mongo-java-server, which Maven fetches: MongoDB itself comes from no package registry. It has no users and no TLS,
and what it wrote in the last second may be lost when it is killed; so `stop` ends it in order. It ends with the process
that started it.
"""

import ctypes
import hashlib
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dev.kafka.addresses import LOOPBACK, find_free_ports, locked
from dev.kafka.errors import ProvisionError, ToolMissingError
from dev.kafka.provision import cache_root, copy_jars, find_java

_FOLDER: Final = Path(__file__).parent
_POM: Final = _FOLDER / "pom.xml"
_START_SECONDS_MAX: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1


def provision() -> Path:
    """The folder of the jars, which Maven fetches the first time (4 MB)."""
    folder = cache_root() / f"mongo-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]}"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if folder.is_dir():
            return folder
        maven = shutil.which("mvn")
        if maven is None:
            raise ToolMissingError("No `mvn` on PATH, and the MongoDB server is not cached yet: install Maven.")
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.tmp-", dir=folder.parent))
        try:
            copy_jars(maven, _POM, temporary, folder.with_name(f"{folder.name}.maven.log"))
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


class MongoServer:
    """A server of its own."""

    def __init__(self) -> None:
        self._java = find_java()
        self._jars = provision()
        self._folder = Path(tempfile.mkdtemp(prefix="flowmachine-mongo-"))
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = find_free_ports(1)

    @property
    def uri(self) -> str:
        """Where clients connect; the database's name comes behind it."""
        return f"mongodb://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        try:
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
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it on its port and data, and wait until it answers."""
        log = self._folder / "log"
        command = [self._java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{self._jars}/*", str(_FOLDER / "Server.java")]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [*command, str(self._folder / "data"), str(self.port)],
                stdout=stream,
                stderr=stream,
                preexec_fn=_die_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS_MAX
        while b"ready" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProvisionError(f"the MongoDB server did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM: connections break, what was answered is kept; `start` brings it back."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop answering, without closing a connection (SIGSTOP)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
