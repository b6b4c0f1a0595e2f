"""`Cluster`: a Kubernetes control plane in a data folder, from start to removal.

    with Cluster() as cluster:
        cluster.kubectl("apply", "-f", "-", stdin=manifest)
        cluster.kill("kube-apiserver")
        cluster.start()

All methods block. In asyncio code call the slow ones through `asyncio.to_thread`. Start-up, in the order of `start`:
1. the programs are built, 2. ports, 3. certificates, tokens and kubeconfig files, 4. etcd and the API server start and
are ready, 5. what needs the API server starts and is ready, 6. with a node: containerd, then kubelet and kube-proxy.
"""

import contextlib
import dataclasses
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from dev.addresses import LOOPBACK, explain_refusal, find_free_ports
from dev.cache import Report, report_nothing
from dev.certificates import TlsFiles
from dev.cluster.command_lines import build_arguments
from dev.cluster.component import Component, marker_of
from dev.cluster.credentials import make_credentials, read_admin_token
from dev.cluster.kubectl import Kubectl
from dev.cluster.node import Node, program_of
from dev.cluster.probe import Probe
from dev.cluster.programs import Programs, find_programs, provision
from dev.cluster.settings import API_SERVER, CONTAINERD, ETCD, NODE_PROGRAMS, PORT_NAMES, ClusterSettings, Layout
from dev.cluster.state import ClusterState, load_state, save_state
from dev.data_folder import DataFolder
from dev.errors import ClusterStateError, ProgramFailedError
from dev.processes import is_ours
from dev.started import Started

_READY_SECONDS_MAX = 90.0  # 3 s on idle cores; 15 s were seen beside a Go build
_STOP_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.05
# What the controller manager makes first; until then no pod can be created in the namespace `default`.
_FIRST_WORK = (
    "/api/v1/namespaces/default/serviceaccounts/default",
    "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
)


class Cluster(Started):
    """A real Kubernetes control plane; pods are created and accepted, and run if the settings ask for a node.

    Its programs end with this Python process, however it ends, unless `survives` is set. An existing data folder is
    used again.
    """

    def __init__(
        self, settings: ClusterSettings | None = None, *, survives: bool = False, report: Report = report_nothing
    ) -> None:
        """Prepare a cluster; nothing runs before `start`."""
        self.settings = settings or ClusterSettings()
        self._folder = DataFolder(self.settings.data_dir, tool="cluster", survives=survives)
        self.data_dir = self._folder.path
        self._report = report
        self._programs: Programs | None = None
        self._state = self._find_state()
        self._components = {
            name: Component(name, self.data_dir / name, self._state.processes.get(name))
            for name in self.settings.components
        }

    @classmethod
    def attach(cls, data_dir: Path, *, report: Report = report_nothing) -> Self | None:
        """Return the cluster of a data folder, running or not; None when there is none. It survives this process."""
        state = load_state(data_dir.expanduser().resolve())
        if state is None:
            return None
        return cls(dataclasses.replace(state.settings, data_dir=data_dir), survives=True, report=report)

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the programs, in the order of their start."""
        return self.settings.components

    @property
    def layout(self) -> Layout:
        """The files and addresses."""
        return Layout(self.data_dir, self._state.ports, has_node=self.settings.node)

    @property
    def _node(self) -> Node | None:
        return Node(self.layout, self._report) if self.settings.node else None

    @property
    def server(self) -> str:
        """The address of the API server."""
        return self.layout.server

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator; it exists once the cluster was started."""
        return self.layout.kubeconfig

    @property
    def kubectl_program(self) -> str:
        """The path of the kubectl that belongs to the API server."""
        return find_programs().path("kubectl")

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60.0) -> str:
        """Run kubectl as administrator and return what it printed."""
        kubectl = Kubectl(self._find_programs().path("kubectl"), self.kubeconfig, self.layout.kubectl_cache)
        return kubectl(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)

    def pid_of(self, component: str) -> int | None:
        """Return the process id of a running program."""
        found = self._components[component]
        return found.identity.pid if found.identity is not None and found.is_running() else None

    def log_of(self, component: str) -> Path:
        """Return the file that holds what a program said."""
        return self._components[component].log

    def running(self) -> tuple[str, ...]:
        """Return the names of the programs whose process lives."""
        return tuple(name for name, component in self._components.items() if component.is_running())

    def is_ready(self) -> bool:
        """Tell whether every program runs and says that it is ready."""
        if self.running() != self.components:
            return False
        probe = self._make_probe()
        return all(self._is_ready(probe, name) for name in self.components)

    def start(self, *, timeout_seconds: float = _READY_SECONDS_MAX) -> None:
        """Start the programs that do not run and wait until all are ready; on failure none of them is left."""
        missing = [component for component in self._components.values() if not component.is_running()]
        programs = self._find_programs()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + timeout_seconds
        try:
            self._choose_ports(is_fresh_start=len(missing) == len(self._components))
            make_credentials(self.layout)
            if self._node is not None:
                self._node.prepare()
            for names in self.settings.stages:
                for component in missing:
                    if component.name in names:
                        self._spawn(component, programs)
                self._wait_ready(names, deadline)
                if self._node is not None and CONTAINERD in names:
                    self._node.load_pause_image()
        except BaseException:
            for component in missing:
                component.kill()
            if self._node is not None and not self.running():
                self._node.sweep()
            raise

    def load_image(self, archive: Path) -> None:
        """Give the node an image from a file (docker-archive), under the name that the file gives it."""
        assert self._node is not None, "only a node runs images"
        self._node.load_image(archive)

    def wait_ready(self, *, timeout_seconds: float = _READY_SECONDS_MAX) -> None:
        """Wait until all programs are ready."""
        self._wait_ready(self.components, time.monotonic() + timeout_seconds)

    def kill(self, component: str) -> None:
        """End one program at once, as a crash would (SIGKILL); `start` brings it back."""
        self._components[component].kill()
        self._save()

    def stop(self, *, is_graceful: bool = True, timeout_seconds: float = _STOP_SECONDS_MAX) -> None:
        """End all programs and keep the data; what does not end in time is killed."""
        running = [component for component in self._components.values() if component.is_running()]
        deadline = time.monotonic() + timeout_seconds
        for component in reversed(running):  # etcd last: the others say goodbye to it
            if is_graceful and component.name not in NODE_PROGRAMS:  # nothing of the node is to be kept
                component.terminate()
                component.wait_ended(max(deadline - time.monotonic(), 0))
            component.kill()
        if self._node is not None:
            self._node.sweep()
        if running:
            with contextlib.suppress(OSError):  # on a full disk; a state that names ended processes is harmless
                self._save()

    def remove_data(self) -> None:
        """Remove what the cluster wrote, and the data folder if nothing else is in it."""
        layout = self.layout
        folders = map(layout.folder_of, {*PORT_NAMES, *NODE_PROGRAMS})
        self._folder.remove(*folders, layout.tls, layout.kubectl_cache, layout.kubeconfig)

    def close(self) -> None:
        """End all programs; data in a temporary folder is removed."""
        self.stop(is_graceful=not self._folder.is_temporary)
        if self._folder.is_temporary:
            self.remove_data()
        self._folder.release()

    def _find_state(self) -> ClusterState:
        state = load_state(self.data_dir)
        if state is None:
            return ClusterState(settings=self.settings, ports=_find_ports(), processes={})
        if state.settings.to_json() == self.settings.to_json():
            return state
        if any(is_ours(identity, marker_of(self.data_dir / name)) for name, identity in state.processes.items()):
            message = f"The cluster in {self.data_dir} runs with other options"
            raise ClusterStateError(message)
        return dataclasses.replace(state, settings=self.settings, processes={})

    def _choose_ports(self, *, is_fresh_start: bool) -> None:
        # A cluster that starts again keeps its address, unless somebody else took one of its ports meanwhile.
        ports = self._state.ports.values()
        if is_fresh_start and any(explain_refusal(LOOPBACK, port) is not None for port in ports):
            self._state = dataclasses.replace(self._state, ports=_find_ports())

    def _save(self) -> None:
        processes = {
            name: component.identity for name, component in self._components.items() if component.identity is not None
        }
        self._state = dataclasses.replace(self._state, processes=processes)
        save_state(self.data_dir, self._state)

    def _find_programs(self) -> Programs:
        if self._programs is None:
            self._programs = provision(self._report)
        return self._programs

    def _spawn(self, component: Component, programs: Programs) -> None:
        self._folder.guard()
        arguments = build_arguments(component.name, self.layout, self.settings)
        program = program_of(CONTAINERD) if component.name == CONTAINERD else programs.path(component.name)
        component.spawn(program, arguments)
        self._save()

    def _make_probe(self) -> Probe:
        context = ssl.create_default_context(cafile=TlsFiles.inside(self.layout.tls).ca)
        return Probe(context, read_admin_token(self.layout))

    def _is_ready(self, probe: Probe, name: str) -> bool:
        ports, api_host = self._state.ports, self.layout.api_host
        if name == ETCD:  # the API server's answer includes etcd's
            return True
        if name == API_SERVER:
            return probe.is_ok(api_host, ports[API_SERVER], "/readyz")
        if self._node is not None and name in NODE_PROGRAMS:
            return self._node.is_ready(probe, name)
        return probe.is_ok(LOOPBACK, ports[name], "/healthz") and all(
            probe.is_ok(api_host, ports[API_SERVER], path) for path in _FIRST_WORK
        )

    def _wait_ready(self, names: Iterable[str], deadline: float) -> None:
        probe = self._make_probe()
        components = [self._components[name] for name in names]
        while True:
            waiting = [component for component in components if not self._is_ready(probe, component.name)]
            for component in components:
                if not component.is_running():
                    message = f"{component.name} ended while it started. {component.explain_end()}"
                    raise ProgramFailedError(message)
            if not waiting:
                return
            if time.monotonic() > deadline:
                late = ", ".join(component.name for component in waiting)
                message = f"{late} not ready in time. {waiting[0].explain_end()}"
                raise ProgramFailedError(message)
            time.sleep(_POLL_SECONDS)


def _find_ports() -> dict[str, int]:
    return dict(zip(PORT_NAMES, find_free_ports(len(PORT_NAMES)), strict=True))
