"""`KafkaCluster`: one or three brokers in a data folder, from start to removal.

    with KafkaCluster(ClusterSettings(brokers=3)) as cluster:
        ...cluster.bootstrap...
        cluster.kill(2)
        cluster.start_broker(2)

All methods block. In asyncio code call the slow ones through `asyncio.to_thread`. Start-up, in the order of `start`:
1. the jars and the class archive are there, 2. the ports are free, 3. certificates, 4. configuration files and format,
5. all processes start, 6. every broker answers and sees all others.
"""

import base64
import contextlib
import dataclasses
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from dev.addresses import explain_refusal, find_free_ports
from dev.cache import Report, report_nothing
from dev.certificates import TlsFiles, make_certificates
from dev.data_folder import DataFolder
from dev.errors import ClusterStateError, DevError, PortTakenError, ProgramFailedError
from dev.kafka.broker import Broker, Format, Launch, marker_of
from dev.kafka.class_archive import class_archive_flags
from dev.kafka.provision import provision
from dev.kafka.server_properties import build_server_properties
from dev.kafka.settings import ClusterSettings
from dev.kafka.state import ClusterState, load_state, save_state
from dev.kafka.tokens import TokenIssuer
from dev.processes import is_ours
from dev.started import Started

_READY_SECONDS_MAX = 90.0  # three brokers on two busy cores were ready after 10 s
_STOP_SECONDS_MAX = 10.0  # the last brokers of a quorum wait in vain for a controller; their data is safe by then
_POLL_SECONDS = 0.05
_ANSWER_SECONDS_MAX = 2.0
_TOOL_SECONDS_MAX = 60.0


class KafkaCluster(Started):
    """Real Kafka brokers on 127.0.0.1.

    They end with this Python process, however it ends, unless `survives` is set. An existing data folder is used again.
    """

    def __init__(
        self, settings: ClusterSettings | None = None, *, survives: bool = False, report: Report = report_nothing
    ) -> None:
        """Prepare a cluster; nothing runs before `start`."""
        self.settings = settings or ClusterSettings()
        self._folder = DataFolder(self.settings.data_dir, tool="kafka", survives=survives)
        self.data_dir = self._folder.path
        self._report = report
        self._launch: Launch | None = None
        self._state = self._find_state()
        self._brokers = {
            node_id: Broker(
                node_id,
                self.data_dir / f"node-{node_id}",
                self._state.ports[node_id],
                self._state.processes.get(node_id),
            )
            for node_id in self.settings.node_ids
        }

    @classmethod
    def attach(cls, data_dir: Path, *, report: Report = report_nothing) -> Self | None:
        """Return the cluster of a data folder, running or not; None when there is none. It survives this process."""
        state = load_state(data_dir.expanduser().resolve())
        if state is None:
            return None
        return cls(dataclasses.replace(state.settings, data_dir=data_dir), survives=True, report=report)

    @property
    def node_ids(self) -> tuple[int, ...]:
        """1, or 1 to 3."""
        return self.settings.node_ids

    @property
    def bootstrap(self) -> str:
        """The PLAINTEXT addresses of all brokers."""
        return self.bootstrap_of("PLAINTEXT")

    @property
    def tls(self) -> TlsFiles:
        """The PEM files for clients of a cluster with TLS."""
        return TlsFiles.inside(self.data_dir / "tls")

    @property
    def issuer(self) -> TokenIssuer:
        """Who signs the tokens that a cluster with OAuth takes."""
        return TokenIssuer(self.data_dir / "oauth")

    def bootstrap_of(self, listener: str) -> str:
        """Return the addresses of one listener: PLAINTEXT, SASL_PLAINTEXT, SSL, SASL_SSL or EXTRA."""
        if listener not in self.settings.listeners:
            message = f"This cluster has no {listener} listener, only {', '.join(self.settings.listeners)}."
            raise ClusterStateError(message)
        host = self.settings.host_of(listener)
        return ",".join(f"{host}:{broker.ports[listener]}" for broker in self._brokers.values())

    def pid_of(self, node_id: int) -> int | None:
        """Return the process id of a running broker."""
        broker = self._brokers[node_id]
        return broker.identity.pid if broker.identity is not None and broker.is_running() else None

    def log_of(self, node_id: int) -> Path:
        """Return the file that holds what a broker said."""
        return self._brokers[node_id].log

    def running(self) -> tuple[int, ...]:
        """Return the ids of the brokers whose process lives, paused or not."""
        return tuple(node_id for node_id, broker in self._brokers.items() if broker.is_running())

    def paused(self) -> tuple[int, ...]:
        """Return the ids of the brokers that are paused."""
        return tuple(node_id for node_id, broker in self._brokers.items() if broker.is_paused())

    def is_ready(self) -> bool:
        """Tell whether every broker runs, answers and sees all others."""
        everyone = set(self.node_ids)
        return all(
            broker.is_running() and everyone <= broker.fetch_known_brokers(self._state.cluster_id, _ANSWER_SECONDS_MAX)
            for broker in self._brokers.values()
        )

    def start(self, *, timeout_seconds: float = _READY_SECONDS_MAX) -> None:
        """Start the brokers that do not run and wait until all are ready; on failure none of them is left."""
        missing = [broker for broker in self._brokers.values() if not broker.is_running()]
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            launch = self._prepare(missing)
            for broker in missing:
                self._spawn(broker, launch)
            self._wait_ready(self.node_ids, timeout_seconds)
        except BaseException:
            for broker in missing:
                broker.kill()
            raise

    def wait_ready(self, *, timeout_seconds: float = _READY_SECONDS_MAX) -> None:
        """Wait until all running brokers that are not paused answer and see each other."""
        paused = self.paused()
        self._wait_ready([node_id for node_id in self.running() if node_id not in paused], timeout_seconds)

    def start_broker(self, node_id: int, *, timeout_seconds: float = _READY_SECONDS_MAX) -> None:
        """Start one broker that does not run, with the data it has, and wait until it serves."""
        broker = self._brokers[node_id]
        if broker.is_running():
            return
        launch = self._prepare([broker])
        paused = self.paused()
        others = [other for other in self.running() if other not in paused]
        self._spawn(broker, launch)
        self._wait_ready([node_id, *others], timeout_seconds)

    def kill(self, node_id: int) -> None:
        """End one broker at once, as a crash would (SIGKILL)."""
        self._brokers[node_id].kill()
        self._save()

    def stop_broker(self, node_id: int, *, timeout_seconds: float = _STOP_SECONDS_MAX) -> None:
        """Shut one broker down in order (SIGTERM); it moves its leaderships first."""
        self._stop([self._brokers[node_id]], timeout_seconds)

    def restart(self, node_id: int, *, is_crash: bool = False) -> None:
        """End one broker, in order or by a crash, and start it again with the same data."""
        if is_crash:
            self.kill(node_id)
        else:
            self.stop_broker(node_id)
        self.start_broker(node_id)

    def pause(self, node_id: int) -> None:
        """Freeze one broker (SIGSTOP): its connections stay open and nobody answers."""
        self._brokers[node_id].pause()

    def resume(self, node_id: int) -> None:
        """Let a paused broker continue (SIGCONT)."""
        self._brokers[node_id].signal(signal.SIGCONT)

    def stop(self, *, is_graceful: bool = True, timeout_seconds: float = _STOP_SECONDS_MAX) -> None:
        """End all brokers and keep the data; what does not end in time is killed."""
        self._stop(self._brokers.values(), timeout_seconds if is_graceful else 0)

    def remove_data(self) -> None:
        """Remove what the cluster wrote, and the data folder if nothing else is in it."""
        names = ("tls", "oauth", *(f"node-{node_id}" for node_id in self.node_ids))
        self._folder.remove(*(self.data_dir / name for name in names))

    def close(self) -> None:
        """End all brokers; data in a temporary folder is removed."""
        self.stop(is_graceful=not self._folder.is_temporary)
        if self._folder.is_temporary:
            self.remove_data()
        self._folder.release()

    def run_tool(self, main_class: str, *arguments: str) -> str:
        """Run a Kafka command such as `org.apache.kafka.tools.AclCommand` and return what it printed."""
        launch = self._find_launch()
        result = subprocess.run(
            launch.command(main_class, *arguments),
            env=launch.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TOOL_SECONDS_MAX,
        )
        if result.returncode != 0:
            message = f"{main_class} failed: {result.stdout}{result.stderr}"
            raise DevError(message)
        return result.stdout

    def grant(self, user: str, *permissions: str) -> None:
        """Allow a user something by AclCommand, e.g. `grant("alice", "--operation", "Read", "--topic", "orders")`."""
        self.run_tool(
            "org.apache.kafka.tools.AclCommand",
            *("--bootstrap-server", self.bootstrap, "--add", "--allow-principal", f"User:{user}", *permissions),
        )

    def _find_state(self) -> ClusterState:
        state = load_state(self.data_dir)
        if state is None:
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            return ClusterState(settings=self.settings, cluster_id=cluster_id, ports=self._choose_ports(), processes={})
        if state.settings.to_json() == self.settings.to_json():
            return state
        if state.settings.brokers != self.settings.brokers:
            message = (
                f"{self.data_dir} holds the data of {state.settings.brokers} broker(s), not {self.settings.brokers}"
            )
            raise ClusterStateError(message)
        if any(
            is_ours(identity, marker_of(self.data_dir / f"node-{node_id}"))
            for node_id, identity in state.processes.items()
        ):
            message = f"The brokers in {self.data_dir} run with other options"
            raise ClusterStateError(message)
        return dataclasses.replace(state, settings=self.settings, ports=self._choose_ports(), processes={})

    def _choose_ports(self) -> dict[int, dict[str, int]]:
        count = len(self.settings.listeners) * self.settings.brokers
        return self.settings.build_ports(None if self.settings.port_base else find_free_ports(count))

    def _save(self) -> None:
        processes = {
            node_id: broker.identity for node_id, broker in self._brokers.items() if broker.identity is not None
        }
        self._state = dataclasses.replace(self._state, processes=processes)
        save_state(self.data_dir, self._state)

    def _find_launch(self) -> Launch:
        if self._launch is None:
            distribution = provision(self._report)
            flags = class_archive_flags(distribution, self._report)
            if self.settings.quick_jvm:
                flags += ("-XX:TieredStopAtLevel=1",)
            if self.settings.oauth:  # a broker opens no other URL for keys
                flags += (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.issuer.jwks.as_uri()}",)
            self._launch = Launch(
                distribution=distribution, heap_mib=self.settings.heap_mib, flags=flags + self.settings.jvm_flags
            )
        return self._launch

    def _prepare(self, brokers: list[Broker]) -> Launch:
        launch = self._find_launch()
        self._check_ports(brokers)
        self._save()  # before the format, which writes the cluster's id into the data
        tls = None
        if self.settings.needs_certificates:
            extra_hosts = (self.settings.extra_host,) if self.settings.extra_host else ()
            tls = make_certificates(self.data_dir / "tls", extra_hosts)
        issuer = self.issuer if self.settings.oauth else None
        if issuer is not None:
            issuer.make_key()
        formats: list[Format | None] = []
        for broker in brokers:
            text = build_server_properties(
                self.settings, broker.node_id, ports=self._state.ports, log_dir=broker.data, tls=tls, issuer=issuer
            )
            broker.write_configuration(text)
            formats.append(broker.begin_format(launch, self._state.cluster_id, self.settings.users))
        for format_run in formats:
            if format_run is not None:
                format_run.wait()
        return launch

    def _check_ports(self, brokers: list[Broker]) -> None:
        taken = [
            f"{self.settings.host_of(listener)}:{port} ({listener} of broker {broker.node_id}: {reason})"
            for broker in brokers
            for listener, port in broker.ports.items()
            if (reason := explain_refusal(self.settings.host_of(listener), port)) is not None
        ]
        if taken:
            message = f"Cannot listen on {', '.join(taken)}; end what listens there or choose another --port-base."
            raise PortTakenError(message)

    def _wait_ready(self, node_ids: Iterable[int], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        waiting = {node_id: self._brokers[node_id] for node_id in node_ids}
        expected = frozenset(waiting)
        while waiting:
            for node_id, broker in list(waiting.items()):
                if expected <= broker.fetch_known_brokers(self._state.cluster_id, _ANSWER_SECONDS_MAX):
                    del waiting[node_id]
                elif not broker.is_running():
                    message = f"Broker {node_id} ended while it started. {broker.explain_end()}"
                    raise ProgramFailedError(message)
            if waiting and time.monotonic() > deadline:
                broker = next(iter(waiting.values()))
                names = ", ".join(map(str, waiting))
                message = f"Broker {names} not ready after {timeout_seconds:.0f} s. {broker.explain_end()}"
                raise ProgramFailedError(message)
            time.sleep(_POLL_SECONDS if waiting else 0)

    def _spawn(self, broker: Broker, launch: Launch) -> None:
        self._folder.guard()
        broker.spawn(launch)
        self._save()

    def _stop(self, brokers: Iterable[Broker], timeout_seconds: float) -> None:
        running = [broker for broker in brokers if broker.is_running()]
        deadline = time.monotonic() + timeout_seconds
        if timeout_seconds > 0:
            for broker in running:
                broker.terminate()
        for broker in running:
            if not broker.wait_ended(max(deadline - time.monotonic(), 0)):
                broker.kill()
        if running:
            with contextlib.suppress(OSError):  # on a full disk; a state that names ended processes is harmless
                self._save()
