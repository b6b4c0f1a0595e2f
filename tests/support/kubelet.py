"""A node whose pods are real engines: what a kubelet does with the engine's container, as far as engines can tell.

For each pod of a namespace it lays out the ConfigMap and the Secrets that the pod mounts, runs the container's command
with its arguments as a process on a loopback address of its own, asks the readiness probe, and ends the process when
the pod goes. Paths are below a folder of the pod instead of `/`; nothing else of the pod template is changed. A pod
with its service account's token finds it, and the API server, where every pod does, in a mount namespace of its own.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flowmachine_operator.kinds import CONFIG_MAP, POD, SECRET
from tests.support.flow_machines import Manifest
from tests.support.kubernetes import build_running_status
from tests.support.operator import Lab

ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - what pods listen on, each in a network of its own
_CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"
_MOUNTED = f'mount -t tmpfs tmpfs /run && mkdir -p {_CREDENTIALS} && cp "$0"/* {_CREDENTIALS} && exec "$@"'
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 60


@dataclass(slots=True)
class RunningPod:
    """A pod whose engine runs."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    probe: str
    log: Path
    mounts: dict[str, Path]
    """Where the content of a path in the container is."""
    is_ready: bool = False

    def check_ready(self) -> bool:
        """Whether the readiness probe is answered with success."""
        try:
            with urllib.request.urlopen(f"{self.url}{self.probe}", timeout=5):  # noqa: S310 - our own child
                return True
        except (urllib.error.URLError, OSError):
            return False


class Kubelet:
    """Runs the pods of a lab's namespace; `pods` has those that run now.

    `api_server` is the `host:port` under which they find the API server, if not where it is.
    """

    def __init__(self, lab: Lab, folder: Path, *, api_server: str = "") -> None:
        self._api_server = api_server
        self._lab = lab
        self._folder = folder
        self._network = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}"
        self._addresses = iter(range(1, 255))
        self.pods: dict[str, RunningPod] = {}
        self._ending: set[asyncio.Task[int]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pods = {pod["metadata"]["name"]: pod for pod in await self._lab.api.list(POD.path(self._lab.namespace))}
            living = {name: pod for name, pod in pods.items() if "deletionTimestamp" not in pod["metadata"]}
            for name in self.pods.keys() - living.keys():
                self._end(self.pods.pop(name))
            for name, pod in living.items():
                if name not in self.pods:
                    self.pods[name] = await self._start(pod)
                await self._report(pod, self.pods[name])
            await asyncio.sleep(_POLL_SECONDS)

    async def _start(self, pod: Manifest) -> RunningPod:
        spec, name = pod["spec"], pod["metadata"]["name"]
        account = spec["serviceAccountName"]
        (container,) = spec["containers"]
        address = f"{self._network}.{next(self._addresses)}"
        volumes = {
            volume["name"]: await self._lay_out(volume, account, self._folder / name) for volume in spec["volumes"]
        }
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        variables = {item["name"]: _read_variable(item, address) for item in container["env"]}

        places = {path: str(there) for path, there in mounts.items()} | {ALL_ADDRESSES: address}
        pattern = re.compile("|".join(map(re.escape, sorted(places, key=len, reverse=True))))

        def translate(argument: str) -> str:
            told = re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], argument)
            return pattern.sub(lambda found: places[found[0]], told)

        (command,) = container["command"]
        program: list[str | Path] = [Path(sys.executable).with_name(command)]
        if spec.get("automountServiceAccountToken"):
            inside = ("unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNTED, mounts[_CREDENTIALS])
            program = [*inside, *program]
            server = self._api_server or urlsplit(self._lab.api.server).netloc
            host, _, number = server.rpartition(":")
            variables |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": number}
        log = self._folder / f"{name}.log"
        process = _launch([*program, *map(translate, container["args"])], variables, log)
        (port,) = (port["containerPort"] for port in container["ports"] if port["name"] == "http")
        probe = container["readinessProbe"]["httpGet"]["path"]
        return RunningPod(name, process, f"http://{address}:{port}", probe, log, mounts)

    async def _lay_out(self, volume: Manifest, account: str, folder: Path) -> Path:
        """The folder of a volume, with what the API server has now."""
        there = folder / volume["name"]
        there.mkdir(parents=True)
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in sources:
            for path, content in (await self._read(source, account)).items():
                (there / path).parent.mkdir(exist_ok=True)
                (there / path).write_bytes(content)
        return there

    async def _read(self, source: Manifest, account: str) -> dict[str, bytes]:
        """The files of one source of a volume."""
        if "serviceAccountToken" in source:
            token = await self._lab.run_kubectl("create", "token", account)
            return {source["serviceAccountToken"]["path"]: token.encode()}
        if "downwardAPI" in source:
            (item,) = source["downwardAPI"]["items"]
            assert item["fieldRef"]["fieldPath"] == "metadata.namespace"
            return {item["path"]: self._lab.namespace.encode()}
        if "configMap" in source:
            found = await self._lab.until_child(CONFIG_MAP, source["configMap"]["name"])
            content = {key: text.encode() for key, text in found["data"].items()}
        elif "secret" in source:
            found = await self._lab.until_child(SECRET, source["secret"]["name"])
            content = {key: base64.b64decode(text) for key, text in found["data"].items()}
        else:
            return {}
        named = (source.get("configMap") or source["secret"]).get("items", [])
        return {item["path"]: content[item["key"]] for item in named} or content

    async def _report(self, pod: Manifest, running: RunningPod) -> None:
        assert running.process.poll() is None, f"the engine of {running.name} ended:\n{running.log.read_text()[-3000:]}"
        is_ready = await asyncio.to_thread(running.check_ready)
        if is_ready == running.is_ready:
            return
        address = running.url.removeprefix("http://").partition(":")[0]
        status = build_running_status(pod, is_ready=is_ready) | {"podIP": address, "podIPs": [{"ip": address}]}
        with contextlib.suppress(Exception):  # it was deleted meanwhile
            await self._lab.api.patch(POD.path(self._lab.namespace, running.name, "status"), {"status": status})
            running.is_ready = is_ready

    def _end(self, pod: RunningPod) -> None:
        pod.process.send_signal(signal.SIGTERM)
        self._ending.add(asyncio.create_task(asyncio.to_thread(_wait, pod.process)))

    async def stop(self) -> None:
        """All engines end in order."""
        for name in list(self.pods):
            self._end(self.pods.pop(name))
        codes = await asyncio.gather(*self._ending)
        assert set(codes) <= {0}, f"engines ended with {codes}"


def _launch(command: list[str | Path], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Not in a thread: who is cancelled meanwhile would never know of the process."""
    with log.open("wb") as output:
        return subprocess.Popen(command, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT)


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _read_variable(item: dict[str, Any], address: str) -> str:
    if "valueFrom" not in item:
        return str(item["value"])
    assert item["valueFrom"] == {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    return address


@asynccontextmanager
async def running_kubelet(lab: Lab, machine: str, folder: Path, *, api_server: str = "") -> AsyncGenerator[Kubelet]:
    """The pods of a machine are real engines until the block ends. Raises what became of one that failed."""
    lab.holds_back.add(machine)
    kubelet = Kubelet(lab, folder, api_server=api_server)
    run = asyncio.create_task(kubelet.run())
    try:
        yield kubelet
    finally:
        run.cancel()
        (failed,) = await asyncio.gather(run, return_exceptions=True)
        await kubelet.stop()
        if isinstance(failed, Exception):
            raise failed


def create_saga(url: str) -> str:
    """Ask an engine for a new saga; its id."""
    body = json.dumps({"associatedEntityId": "order", "metadata": {}}).encode()
    request = urllib.request.Request(f"{url}/saga", body, {"Content-Type": "application/json"})  # noqa: S310 - our engine
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - our engine
        answer: dict[str, str] = json.loads(response.read())
    return answer["sagaId"]
