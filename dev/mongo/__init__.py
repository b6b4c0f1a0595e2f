"""A server that speaks MongoDB's protocol, in a temporary folder: `with MongoServer() as server: connect(server.uri)`.

It is mongo-java-server, which Maven fetches: MongoDB itself comes from no package registry. It has no users and no TLS,
and what it wrote in the last second may be lost when it is killed; so `stop` ends it in order. It ends with the process
that started it.
"""

import hashlib
import signal
import subprocess
from pathlib import Path
from typing import Final

from dev.addresses import LOOPBACK
from dev.cache import cache_root, make_once
from dev.maven import copy_jars, find_java, find_maven
from dev.server import Server

_FOLDER: Final = Path(__file__).parent
_POM: Final = _FOLDER / "pom.xml"
_STOP_SECONDS_MAX: Final = 20.0


def provision() -> Path:
    """The folder of the jars, which Maven fetches the first time (4 MB)."""
    folder = cache_root() / f"mongo-{hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]}"
    log = folder.with_name(f"{folder.name}.maven.log")
    return make_once(folder, lambda target: copy_jars(find_maven("the MongoDB server"), _POM, target, log))


class MongoServer(Server):
    """A server of its own."""

    name = "MongoDB"

    def __init__(self) -> None:
        self._java = find_java()
        self._jars = provision()
        super().__init__()

    @property
    def uri(self) -> str:
        """Where clients connect; the database's name comes behind it."""
        return f"mongodb://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        """The program and its arguments."""
        java = [self._java, "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{self._jars}/*", str(_FOLDER / "Server.java")]
        return [*java, str(self.folder / "data"), str(self.port)]

    def start(self) -> None:
        """Start it on its port and data, and wait until it says that it is ready."""
        self.log.unlink(missing_ok=True)
        super().start()

    def answers(self) -> bool:
        """Whether it has said so since it was started."""
        return b"ready" in self.log.read_bytes()

    def stop(self) -> None:
        """SIGTERM: connections break, what was answered is kept; `start` brings it back."""
        if self.process is not None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def pause(self) -> None:
        """Stop answering, without closing a connection (SIGSTOP)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
