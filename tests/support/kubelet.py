"""The kubelet of one pod, played.

It runs `flowmachine` on an address of its own with the ConfigMap that the pod mounts, and starts it anew when the pod
is replaced. A pod with its service account's token finds it, and the API server, where every pod does: the engine runs
in a mount namespace of its own.
"""

import asyncio
import json
import random
import shutil
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dev.engine_process import EngineProcess
from dev.kafka.certificates import TlsFiles
from flowmachine_operator.kinds import CONFIG_MAP, POD
from tests.support.operator import Lab

PORT = 8080
CREDENTIALS = "/var/run/secrets/kubernetes.io/serviceaccount"
MOUNTED = f'mount -t tmpfs tmpfs /run && mkdir -p {CREDENTIALS} && cp "$0"/* {CREDENTIALS} && exec "$@"'


class Kubelet:
    """Runs the one pod of a machine as a process."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        self._lab = lab
        self._folder = folder
        self._pod = ""
        self.engine: EngineProcess | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pods = await self._lab.api.list(POD.path(self._lab.namespace))
            living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            if living and living[0]["metadata"]["name"] != self._pod:
                await self._replace(living[0])
            await asyncio.sleep(0.2)

    async def _replace(self, pod: dict[str, Any]) -> None:
        await self.stop()
        (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "config")
        config_map = await self._lab.api.get(CONFIG_MAP.path(self._lab.namespace, volume["configMap"]["name"]))
        assert config_map is not None
        name = pod["metadata"]["name"]
        file = self._folder / f"{name}.json"
        file.write_text(config_map["data"]["flowmachine.json"], "utf-8")
        arguments = ("--http", f"{self.address}:{PORT}", "--data-dir", str(self._folder))
        if pod["spec"].get("automountServiceAccountToken"):
            layout = self._lab.cluster.cluster.own_cluster().layout
            server = urlsplit(layout.server)
            engine = EngineProcess(
                file,
                *arguments,
                inside=("unshare", "--map-root-user", "--mount", "sh", "-c", MOUNTED, str(await self._mount(pod))),
                environment={
                    "KUBERNETES_SERVICE_HOST": str(server.hostname),
                    "KUBERNETES_SERVICE_PORT": str(server.port),
                },
            )
        else:
            engine = EngineProcess(file, *arguments)
        await asyncio.to_thread(engine.start)
        self.engine, self._pod = engine, name
        running = {
            "phase": "Running",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "conditions": [{"type": kind, "status": "True"} for kind in ("ContainersReady", "Ready")],
        }
        await self._lab.api.patch(POD.path(self._lab.namespace, name, "status"), {"status": running})

    async def _mount(self, pod: dict[str, Any]) -> Path:
        """A folder with what a pod finds of its service account."""
        folder = self._folder / f"{pod['metadata']['name']}-account"
        folder.mkdir()
        token = await self._lab.run_kubectl("create", "token", pod["spec"]["serviceAccountName"])
        (folder / "token").write_text(token)
        shutil.copy(TlsFiles.inside(self._lab.cluster.cluster.own_cluster().layout.tls).ca, folder / "ca.crt")
        return folder

    async def stop(self) -> None:
        """End the engine in order."""
        if self.engine is not None:
            await asyncio.to_thread(self.engine.terminate)
            self.engine = None


def create_saga(url: str) -> str:
    body = json.dumps({"associatedEntityId": "order", "metadata": {}}).encode()
    request = urllib.request.Request(f"{url}/saga", body, {"Content-Type": "application/json"})  # noqa: S310 - our engine
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - our engine
        answer: dict[str, str] = json.loads(response.read())
    return answer["sagaId"]
