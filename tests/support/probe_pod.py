"""Asks a cluster by a pod whether it can run an image, and whether its pods reach a broker."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dev.cluster import Kubectl
from dev.errors import KubectlError

WAIT_SECONDS = 90
"""A small cluster pulls an image of a hundred megabytes in less."""

_REACH = """
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
try:
    socket.create_connection((host, int(port)), timeout=10).close()
except OSError as error:
    print(error)
"""


def find_trouble(kubectl: Kubectl, image: str, bootstrap: str, *, seconds: int = WAIT_SECONDS) -> str:
    """What keeps pods of this image from running, or from reaching the broker; empty when nothing does."""
    with _namespace(kubectl) as namespace:
        kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(_build_pod(image, bootstrap)))
        ended = ("--for=jsonpath={.status.phase}=Succeeded", "pod/probe", f"--timeout={seconds}s")
        try:
            kubectl("wait", "-n", namespace, *ended, timeout_seconds=seconds + 10)
        except KubectlError:
            pod = json.loads(kubectl("get", "pod", "probe", "-n", namespace, "-o", "json"))
            return f"a pod of {image} did not run within {seconds} s: {_explain(pod['status'])}"
        answer = kubectl("logs", "probe", "-n", namespace).strip()
        return f"a pod does not reach the broker {bootstrap}: {answer}" if answer else ""


@contextmanager
def _namespace(kubectl: Kubectl) -> Iterator[str]:
    name = f"e2e-probe-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    try:
        kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def _build_pod(image: str, bootstrap: str) -> dict[str, Any]:
    container = {
        "name": "probe",
        "image": image,
        "command": ["python3", "-c", _REACH, bootstrap.split(",")[0]],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}


def _explain(status: dict[str, Any]) -> str:
    for container in status.get("containerStatuses", []):
        for state in container["state"].values():
            if "reason" in state:
                return f"{state['reason']}: {state.get('message', 'it says no more')}"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message"))
    return "no node has taken it; does the cluster have one, and a scheduler?"
