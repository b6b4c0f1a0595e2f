"""What the chart lets the operator do is exactly what it does: the API server's own account of it is compared.

The operator does, under Roles made of the chart's rules, all that it ever does: children of every kind come, change and
go, certificates are made and renewed, topics deleted. Then every right that was granted must have been used, and
nothing must have been refused.
"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dev.addresses import find_free_ports
from flowmachine_operator.certificates import LIFETIME, make_certificate
from flowmachine_operator.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    NETWORK_POLICY,
    POD_MONITOR,
    ROLE,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    WEBHOOK_CONFIGURATION,
    Kind,
)
from tests.support.flow_machines import Manifest, flow_machine, topics_for
from tests.support.kafka import KafkaBroker
from tests.support.kubernetes import SYSTEM
from tests.support.operator import Lab, until
from tests.support.operator_rights import build_role, read_rules, write_kubeconfig

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka]

Right = tuple[str, str, str]
"""Group, resource (with its subresource) and verb."""

_CREATED = 201
_FORBIDDEN = 403
# Asked for by an admission plugin on behalf of whoever sets an owner that blocks; `test_owners...` shows it.
_OWNERS: Right = ("flowmachine.io", "flowmachines/finalizers", "update")


def rights_of(rules: list[Manifest]) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield from ((group, resource, verb) for verb in rule["verbs"])


def read_audit(log: Path, user: str) -> Iterator[tuple[Right, int]]:
    """What a user asked for, and how it was answered."""
    for line in log.read_text("utf-8").splitlines():
        event = json.loads(line)
        if event["user"]["username"] != user or "objectRef" not in event:
            continue
        reference, code = event["objectRef"], event["responseStatus"]["code"]
        resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
        group = reference.get("apiGroup", "")
        yield (group, resource, event["verb"]), code
        if event["verb"] == "patch" and code == _CREATED:  # server-side apply of what was not there
            yield (group, resource, "create"), code


class Account:
    """A service account of the operator with the chart's rules for one namespace, and with names of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.name = f"narrow-{lab.namespace}"
        self.user = f"system:serviceaccount:{SYSTEM}:{self.name}"
        self.lab = lab
        rules = read_rules(lease_name=self.name, webhook_secret=self.name, webhook_configuration=self.name)
        self.watched: list[Manifest] = rules["watched"]
        self.rules = [*self.watched, *rules["own"], *rules["certificate"]["own"], *rules["certificate"]["cluster"]]
        own = rules["own"] + rules["certificate"]["own"]
        cluster = lab.cluster.cluster
        cluster.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self.name, "namespace": SYSTEM}},
            *build_role("Role", self.name, own, namespace=SYSTEM, account=self.name),
            *build_role("ClusterRole", self.name, rules["certificate"]["cluster"], account=self.name),
        )
        self.grant(self.watched)
        lab.kubeconfig = folder / "narrow"
        write_kubeconfig(cluster, self.name, lab.kubeconfig)

    def grant(self, watched: list[Manifest]) -> None:
        """In the namespace of the lab it may do this."""
        roles = build_role("Role", self.name, watched, namespace=self.lab.namespace, account=self.name)
        self.lab.cluster.cluster.apply(*roles)

    def remove(self) -> None:
        """What is not in the lab's namespace goes."""
        kubectl = self.lab.cluster.kubectl
        kubectl(
            "delete", "clusterrole,clusterrolebinding,validatingwebhookconfiguration", self.name, "--ignore-not-found"
        )
        kubectl("delete", "sa,role,rolebinding,lease,secret", self.name, "-n", SYSTEM, "--ignore-not-found")


@pytest.fixture
def account(lab: Lab, tmp_path: Path) -> Iterator[Account]:
    account = Account(lab, tmp_path)
    yield account
    account.remove()


async def until_gone(lab: Lab, kind: Kind, name: str) -> None:
    async def is_gone() -> bool:
        return await lab.child(kind, name) is None

    await until(is_gone, f"the {kind.kind} {name} is gone")


async def age_certificate(lab: Lab, name: str) -> None:
    """The webhook's certificate is one that must be renewed."""
    old = make_certificate((f"{name}.{SYSTEM}.svc",), datetime.now(UTC) - LIFETIME + timedelta(days=1))
    texts = {"tls.crt": old.chain, "tls.key": old.key, "ca.crt": old.authorities}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    await lab.api.patch(SECRET.path(SYSTEM, name), {"data": data})


def configure_webhook(lab: Lab, name: str, port: int) -> dict[str, str]:
    """The configuration that the operator completes; returns the variables that have it serve the webhook."""
    webhook = {
        "name": "flowmachines.flowmachine.io",
        "clientConfig": {"url": f"https://localhost:{port}/validate"},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    lab.cluster.cluster.apply(
        {
            "apiVersion": WEBHOOK_CONFIGURATION.api_version,
            "kind": WEBHOOK_CONFIGURATION.kind,
            "metadata": {"name": name},
            "webhooks": [webhook],
        }
    )
    return {
        "lease_name": name,
        "webhook": "true",
        "webhook_port": str(port),
        "webhook_secret": name,
        "webhook_configuration": name,
    }


async def have_all_children_made(lab: Lab, manifest: Manifest) -> Manifest:
    """The machine has a child of every kind but one; returns the Role of its engines."""
    manifest["spec"]["persistence"] = {"type": "kubernetes"}
    await lab.apply(manifest)
    await lab.until_ready("orders")
    for kind in (POD_MONITOR, NETWORK_POLICY, SERVICE, SERVICE_ACCOUNT, DEPLOYMENT):
        await lab.until_child(kind, "fm-orders")
    return await lab.until_child(ROLE, "fm-orders")


async def have_children_removed(lab: Lab, manifest: Manifest) -> None:
    """The last kind of child comes, and most go; every change makes another ConfigMap, the oldest are removed."""
    spec: dict[str, Any] = manifest["spec"]
    spec["persistence"] = {"type": "postgres", "configurations": {"connectionUri": "postgresql://a:b@db/sagas"}}
    await lab.apply(manifest)
    await lab.until_child(SECRET, "fm-orders-literals")
    await until_gone(lab, ROLE, "fm-orders")
    spec["template"] = {"serviceAccountName": "default"}
    del spec["persistence"]
    for number in range(4):
        spec["settings"] = {"sagaIdPrefix": f"round-{number}-"}
        await lab.apply(manifest)
        await lab.until_condition("orders", "Reconciling", status="True")
        await lab.until_ready("orders")
    await until_gone(lab, SECRET, "fm-orders-literals")
    await until_gone(lab, SERVICE_ACCOUNT, "fm-orders")

    async def are_pruned() -> bool:
        return len(await lab.api.list(CONFIG_MAP.path(lab.namespace), selector="flowmachine.io/machine=orders")) == 4

    await until(are_pruned, "the oldest ConfigMaps are removed")


@pytest.mark.usefixtures("pod_monitors")
async def test_every_right_is_used_and_none_is_missing(lab: Lab, kafka_broker: KafkaBroker, account: Account) -> None:
    (port,) = find_free_ports(1)
    variables = configure_webhook(lab, account.name, port)
    operator = await lab.start_operator(**variables, network_policies="true", pod_monitors="true")
    prefix = await topics_for(kafka_broker.bootstrap)
    manifest = flow_machine("orders", kafka_broker.bootstrap, prefix=prefix, deletionPolicy="Delete")
    role = await have_all_children_made(lab, manifest)
    await have_children_removed(lab, manifest)

    # An operator that is told otherwise removes what is not wanted any more, and renews the certificate.
    assert operator.stop() == 0
    await age_certificate(lab, account.name)
    operator = await lab.start_operator(**variables)
    for kind in (POD_MONITOR, NETWORK_POLICY):
        await until_gone(lab, kind, "fm-orders")
    for kind in (SERVICE, DEPLOYMENT):
        assert await lab.child(kind, "fm-orders") is not None
    await lab.run_kubectl("delete", "fm", "orders", "--timeout=60s")
    assert operator.stop() == 0

    log = lab.cluster.cluster.audit_log
    if log is None:
        pytest.skip("needs the audit log of a control plane of our own")
    asked = list(read_audit(log, account.user))
    refused = sorted({right for right, code in asked if code == _FORBIDDEN})
    assert refused == [], "the operator asks for what it may not do"
    # Nobody can give away what he has not got: the rights of the engines count as used.
    used = {right for right, _ in asked} | set(rights_of(role["rules"])) | {_OWNERS}
    unused = sorted(set(rights_of(account.rules)) - used)
    assert unused == [], f"remove from helm/flowmachine/files/rules.yaml what nothing uses: {unused}"


async def test_owners_that_block_need_a_right(lab: Lab, kafka_broker: KafkaBroker, account: Account) -> None:
    """Where the API server protects owners, children cannot be made without `flowmachines/finalizers`."""
    lab.cluster.cluster.own_cluster()
    account.grant([rule for rule in account.watched if _OWNERS not in rights_of([rule])])
    await lab.start_operator(lease_name=account.name)
    prefix = await topics_for(kafka_broker.bootstrap)
    await lab.apply(flow_machine("orders", kafka_broker.bootstrap, prefix=prefix))
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="ChildRefused")
    assert "cannot set blockOwnerDeletion" in stalled["message"]
    account.grant(account.watched)
    await lab.until_ready("orders")
