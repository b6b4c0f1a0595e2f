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

from dev.kafka.addresses import LOOPBACK
from dev.kafka.errors import BrokerFailedError
from dev.kafka.processes import (
    ProcessIdentity,
    identify,
    is_ours,
    is_paused,
    send_signal,
    wait_until_gone,
)
from dev.kafka.provision import Distribution
from dev.kafka.server_properties import LOG4J2, SCRAM_MECHANISMS
from dev.kafka.wire import fetch_api_keys, fetch_broker_ids

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
_KILL_SECONDS_MAX = 10.0  # after SIGKILL only the kernel's own work is left
_LOG_TAIL_BYTES = 16_384
_LOG_TAIL_LINES = 12
_TOOL_SECONDS_MAX = 60.0

_KNOWN_CAUSES = (
    ("No space left on device", "The disk that holds {folder} is full."),
    ("Address already in use", "Another process took one of the broker's ports; choose others with --port-base."),
    ("Cannot assign requested address", "A listener address does not exist on this machine (--extra-host?)."),
    ("UnsupportedClassVersionError", "This Java is too old: Kafka needs 17 or newer."),
    ("Could not find or load main class", "The cached jars are damaged: delete {cache} and try again."),
    ("Could not reserve enough space", "Not enough memory for this heap; try a smaller --heap-mib."),
    ("insufficient memory", "Not enough memory for this heap; try a smaller --heap-mib."),
    ("OutOfMemoryError", "The broker ran out of heap; try a larger --heap-mib."),
    ("Unrecognized VM option", "This Java does not know one of the given flags."),
    ("Permission denied", "A file of {folder} may not be read or written."),
)


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


class Broker:
    """One node of a cluster, running or not."""

    def __init__(self, node_id: int, folder: Path, ports: Mapping[str, int], identity: ProcessIdentity | None) -> None:
        """Describe a broker; `identity` is its process from an earlier start, if any."""
        self.node_id = node_id
        self.folder = folder
        self.ports = dict(ports)
        self.identity = identity
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def marker(self) -> str:
        """The text on the command line that makes a process ours."""
        return str(self.folder / "server.properties")

    @property
    def data(self) -> Path:
        """Where the broker keeps its records."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """Everything the process said, over all its starts."""
        return self.folder / "broker.log"

    def is_running(self) -> bool:
        """Tell whether the process lives, paused or not."""
        # Our own child needs no recognition, and for a moment after its start has no command line to recognise.
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._process = None
        return self.identity is not None and is_ours(self.identity, self.marker)

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
                raise BrokerFailedError(message)
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
        """Start the process in a session of its own, so that Ctrl-C in the terminal does not reach it."""
        flags = [*_JVM_FLAGS, f"-Xmx{launch.heap_mib}m", f"-Xms{min(launch.heap_mib, 256)}m"]
        flags.append(f"-Dlog4j2.configurationFile={(self.folder / 'log4j2.properties').as_uri()}")
        java, *rest = launch.command("kafka.Kafka", self.marker)
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [java, *flags, *rest],
                cwd=self.folder,
                env=launch.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.identity = identify(self._process.pid)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process if it is ours and alive; tell whether it was."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            return True
        return self.identity is not None and send_signal(self.identity, self.marker, number)

    def terminate(self) -> None:
        """Ask the process to shut down in order; a paused one is woken for it."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if not self.wait_ended(_KILL_SECONDS_MAX):
            message = f"Process {self.identity} of broker {self.node_id} does not end even after SIGKILL."
            raise BrokerFailedError(message)

    def wait_ended(self, timeout_seconds: float) -> bool:
        """Wait for the end of the process; False when it still lives."""
        has_ended = self.identity is None or wait_until_gone(self.identity, timeout_seconds)
        if has_ended:
            self.is_running()
            self.identity = None
        return has_ended

    def fetch_known_brokers(self, cluster_id: str, timeout_seconds: float) -> frozenset[int]:
        """Ask this broker which brokers it sees alive; empty while it does not answer, or another one does."""
        port = self.ports["PLAINTEXT"]
        try:
            fetch_api_keys(LOOPBACK, port, timeout_seconds=timeout_seconds)
            return fetch_broker_ids(LOOPBACK, port, cluster_id=cluster_id, timeout_seconds=timeout_seconds)
        except OSError:
            return frozenset()

    def explain_end(self, launch: Launch | None = None) -> str:
        """Say why the process ended, from what it wrote last."""
        tail = read_tail(self.log)
        cause = explain(tail, folder=self.folder, cache=launch.distribution.folder if launch else None)
        lines = "\n  ".join(tail.splitlines()[-_LOG_TAIL_LINES:]) or "(it wrote nothing)"
        return f"{cause}\nEnd of {self.log}:\n  {lines}"


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
            cause = explain(text, folder=self._broker.folder, cache=None)
            message = f"Broker {self._broker.node_id}: the data folder could not be formatted. {cause}\n{text}"
            raise BrokerFailedError(message)


def read_tail(path: Path) -> str:
    """Return the end of a log; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - _LOG_TAIL_BYTES, 0))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def explain(text: str, *, folder: Path, cache: Path | None) -> str:
    """Return the sentence for the first known cause in what a Kafka process wrote; empty when none is known."""
    for sign, sentence in _KNOWN_CAUSES:
        if sign in text:
            return sentence.format(folder=folder, cache=cache or "the cache folder")
    return ""
