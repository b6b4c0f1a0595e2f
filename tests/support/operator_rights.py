"""The operator's service account: its Roles, from the chart's rules, and a kubeconfig."""

import json
from pathlib import Path

import yaml

from tests.support.flow_machines import Manifest
from tests.support.kubernetes import SYSTEM, KubernetesCluster

ROOT = Path(__file__).parents[2]

RULES_FILE = ROOT / "helm/flowmachine/files/rules.yaml"

ACCOUNT = "flowmachine-operator"


def read_rules(**names: str) -> Manifest:
    """The chart's rules, with the placeholders filled in."""
    text = RULES_FILE.read_text("utf-8")
    for name, value in names.items():
        text = text.replace(f"$({name.upper()})", value)
    rules: Manifest = yaml.safe_load(text)
    return rules


def write_kubeconfig(cluster: KubernetesCluster, account: str, path: Path) -> None:
    """A kubeconfig with a token of a service account of the namespace SYSTEM."""
    admin = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    token = cluster.kubectl("create", "token", account, "-n", SYSTEM, "--duration=8h").strip()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": admin["clusters"],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": admin["clusters"][0]["name"], "user": account}}],
        "current-context": "test",
    }
    path.write_text(json.dumps(config), "utf-8")


def build_role(
    kind: str, name: str, rules: list[Manifest], *, namespace: str | None = None, account: str = ACCOUNT
) -> list[Manifest]:
    """A Role or ClusterRole, and its binding to a service account of the namespace SYSTEM."""
    where = {"namespace": namespace} if namespace else {}
    api = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{api}/v1", "kind": kind, "metadata": {"name": name, **where}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{kind}Binding",
            "metadata": {"name": name, **where},
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}],
        },
    ]
