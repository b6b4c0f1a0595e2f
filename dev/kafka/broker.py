"""One broker process: its folder, format, start, signals, and why it ended.

Folder of a broker: server.properties, log4j2.properties, broker.log (everything the process says), data/.
The path of server.properties is on the command line of the process and is the marker by which we know it as ours.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dev.addresses import LOOPBACK
from dev.errors import ProgramFailedError
from dev.kafka.provision import Distribution
from dev.kafka.server_properties import LOG4J2, SCRAM_MECHANISMS
from dev.kafka.wire import fetch_api_keys, fetch_broker_ids
from dev.own_process import OwnProcess
from dev.processes import ProcessIdentity, is_paused

# The collector settings of Kafka's own start script, and an end instead of a broker that lingers without memory.
_JVM_FLAGS = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
_PAUSE_SECONDS_MAX = 5.0  # all threads have to come to a halt
_POLL_SECONDS = 0.01
_TOOL_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the JVM of a broker is started."""

    distribution: Distribution
    heap_mib: int
    flags: tuple[str, ...] = ()

    def command(self, main_class: str, *arguments: str) -> list[str]:
        """Return the command line of a Kafka program, without the heap of a broker."""
        return [self.distribution.java, *self.flags, main_class, *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment: the long class path travels here, so that process lists stay readable."""
        return os.environ | {"CLASSPATH": self.distribution.class_path}


class Broker(OwnProcess):
    """One node of a cluster, running or not."""

    causes = (
        ("No space left on device", "The disk that holds {folder} is full."),
        ("Address already in use", "Another process took one of the broker's ports; choose others with --port-base."),
        ("Cannot assign requested address", "A listener address does not exist on this machine (--extra-host?)."),
        ("UnsupportedClassVersionError", "This Java is too old: Kafka needs 17 or newer."),
        (
            "Could not find or load main class",
            "The cached jars are damaged: delete the folders kafka-* in {cache} and try again.",
        ),
        ("Could not reserve enough space", "Not enough memory for this heap; try a smaller --heap-mib."),
        ("insufficient memory", "Not enough memory for this heap; try a smaller --heap-mib."),
        ("OutOfMemoryError", "The broker ran out of heap; try a larger --heap-mib."),
        ("Unrecognized VM option", "This Java does not know one of the given flags."),
        ("Permission denied", "A file of {folder} may not be read or written."),
    )

    def __init__(self, node_id: int, folder: Path, ports: Mapping[str, int], identity: ProcessIdentity | None) -> None:
        """Describe a broker; `identity` is its process from an earlier start, if any."""
        marker = marker_of(folder)
        super().__init__(f"broker {node_id}", marker=marker, log=folder / "broker.log", identity=identity)
        self.node_id = node_id
        self.ports = dict(ports)

    @property
    def data(self) -> Path:
        """Where the broker keeps its records."""
        return self.folder / "data"

    def is_paused(self) -> bool:
        """Tell whether the process is halted by `pause`."""
        return self.identity is not None and self.is_running() and is_paused(self.identity)

    def pause(self) -> None:
        """Freeze the process, and return when it stands still."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + _PAUSE_SECONDS_MAX
        while self.is_running() and not self.is_paused():
            if time.monotonic() > deadline:
                message = f"Broker {self.node_id} does not stand still after SIGSTOP."
                raise ProgramFailedError(message)
            time.sleep(_POLL_SECONDS)

    def write_configuration(self, server_properties: str) -> None:
        """Write the configuration files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "server.properties").write_text(server_properties, encoding="ascii")
        (self.folder / "log4j2.properties").write_text(LOG4J2, encoding="ascii")

    def begin_format(self, launch: Launch, cluster_id: str, users: Mapping[str, str]) -> "Format | None":
        """Start to format the data folder; None when it already is."""
        if (self.data / "meta.properties").exists():
            return None
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", self.marker, "--ignore-formatted"]
        for user, password in users.items():
            for mechanism in SCRAM_MECHANISMS:
                arguments += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
        process = subprocess.Popen(
            launch.command("kafka.tools.StorageTool", *arguments),
            env=launch.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Format(self, process)

    def spawn(self, launch: Launch) -> None:
        """Start the process."""
        flags = [*_JVM_FLAGS, f"-Xmx{launch.heap_mib}m", f"-Xms{min(launch.heap_mib, 256)}m"]
        flags.append(f"-Dlog4j2.configurationFile={(self.folder / 'log4j2.properties').as_uri()}")
        java, *rest = launch.command("kafka.Kafka", self.marker)
        self.run([java, *flags, *rest], launch.environment())

    def fetch_known_brokers(self, cluster_id: str, timeout_seconds: float) -> frozenset[int]:
        """Ask this broker which brokers it sees alive; empty while it does not answer, or another one does."""
        port = self.ports["PLAINTEXT"]
        try:
            fetch_api_keys(LOOPBACK, port, timeout_seconds=timeout_seconds)
            return fetch_broker_ids(LOOPBACK, port, cluster_id=cluster_id, timeout_seconds=timeout_seconds)
        except OSError:
            return frozenset()


class Format:
    """A running StorageTool."""

    def __init__(self, broker: Broker, process: subprocess.Popen[bytes]) -> None:
        """Watch the process."""
        self._broker = broker
        self._process = process

    def wait(self) -> None:
        """Wait until the data folder is formatted."""
        try:
            output, _ = self._process.communicate(timeout=_TOOL_SECONDS_MAX)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode != 0:
            text = output.decode(errors="replace").strip()
            cause = self._broker.explain(text)
            message = f"Broker {self._broker.node_id}: the data folder could not be formatted. {cause}\n{text}"
            raise ProgramFailedError(message)


def marker_of(folder: Path) -> str:
    """Return the text on the command line that makes a process the broker of this folder."""
    return str(folder / "server.properties")
