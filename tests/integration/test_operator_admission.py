"""The webhook, asked by a real API server; and objects that were valid once."""

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.addresses import find_free_ports
from dev.crds.generate import TARGET
from dev.errors import KubectlError
from flowmachine_operator.certificates import LIFETIME, make_certificate
from flowmachine_operator.kinds import SECRET, WEBHOOK_CONFIGURATION
from tests.support.flow_machines import flow_machine
from tests.support.kubernetes import install_crds
from tests.support.operator import SYSTEM, Lab, until

pytestmark = pytest.mark.kubernetes

NAME = "flowmachine-operator"
SECRET_NAME = "flowmachine-operator-webhook"
SECRET_PATH = SECRET.path(SYSTEM, SECRET_NAME)
CONFIGURATION_PATH = WEBHOOK_CONFIGURATION.path(None, NAME)


def bad_machine(name: str) -> dict[str, Any]:
    """The CRD's schema cannot see what is wrong with it."""
    manifest = flow_machine(name, "kafka:9092", prefix=name)
    transition = manifest["spec"]["machine"]["states"][0]["outgoingTransitions"][0]
    transition["payloadValidationSchema"] = {"type": "nonsense"}
    return manifest


def configuration(port: int, namespace: str) -> dict[str, Any]:
    """As the chart makes it, but for the address: the API server of the tests runs beside the operator."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME},
        "webhooks": [
            {
                "name": "flowmachines.flowmachine.io",
                "clientConfig": {"url": f"https://localhost:{port}/validate"},
                "rules": [
                    {
                        "apiGroups": ["flowmachine.io"],
                        "apiVersions": ["v1alpha1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["flowmachines"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


@pytest.fixture
async def port(lab: Lab) -> AsyncGenerator[int]:
    """The webhook's port; configuration and certificate of an earlier test are gone."""

    async def remove() -> None:
        for path in (SECRET_PATH, CONFIGURATION_PATH):
            if found := await lab.api.get(path):
                await lab.api.delete(path, uid=found["metadata"]["uid"])

    await remove()
    (number,) = find_free_ports(1)
    yield number
    await remove()


async def until_trusted(lab: Lab) -> str:
    """Wait until the API server trusts the certificate in the Secret; what it trusts."""

    async def look() -> str:
        found, secret = await lab.api.get(CONFIGURATION_PATH), await lab.api.get(SECRET_PATH)
        bundle: str = "" if found is None else found["webhooks"][0]["clientConfig"].get("caBundle", "")
        return bundle if secret is not None and bundle == secret["data"]["ca.crt"] else ""

    bundle: str = await until(look, "the configuration has the certificate")
    return base64.b64decode(bundle).decode()


async def test_a_bad_machine_is_refused_at_apply_with_its_path(lab: Lab, port: int) -> None:
    await lab.apply(bad_machine("older"))
    await lab.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(configuration(port, lab.namespace)))
    variables = {"webhook": "true", "webhook_port": str(port), "webhook_service": "localhost"}
    operator = await lab.start_operator(**variables)
    await until_trusted(lab)
    path = r"spec\.machine\.states\[0\]\.outgoingTransitions\[0\]\.payloadValidationSchema"
    with pytest.raises(KubectlError, match=path):
        await lab.apply(bad_machine("newer"))
    await lab.apply(flow_machine("good", "kafka:9092", prefix="good"))
    with pytest.raises(KubectlError, match=path):
        await lab.apply(bad_machine("good"))
    # What was wrong before the webhook came can be changed, scaled and deleted.
    await lab.run_kubectl("label", "fm", "older", "a=b")
    await lab.run_kubectl("scale", "fm/older", "--replicas=0")
    await lab.run_kubectl("delete", "fm", "older", "--timeout=20s")
    refused = 'flowmachine_operator_admissions_total{allowed="false"}'
    assert operator.metrics()[refused] == 2

    # A second operator, standing by, serves the same certificate.
    (other,) = find_free_ports(1)
    second = await lab.start_operator(waits=False, **{**variables, "webhook_port": str(other)})
    await until(lambda: asyncio.to_thread(second.is_ready), "the second stands by")
    assert await served(port) == await served(other)


async def served(port: int) -> bytes | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_a_certificate_near_its_end_is_renewed_and_the_old_one_still_trusted(lab: Lab, port: int) -> None:
    names = (f"{NAME}.{SYSTEM}.svc", f"{NAME}.{SYSTEM}.svc.cluster.local", NAME)
    old = make_certificate(names, datetime.now(UTC) - LIFETIME + timedelta(days=1))
    texts = {"tls.crt": old.chain, "tls.key": old.key, "ca.crt": old.authorities}
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    manifest = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "data": data}
    await lab.api.create(SECRET.path(SYSTEM), {**manifest, "metadata": {"name": SECRET_NAME, "namespace": SYSTEM}})
    await lab.run_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(configuration(port, lab.namespace)))
    await lab.start_operator(webhook="true", webhook_port=str(port))
    trusted = await until_trusted(lab)
    secret = await lab.api.get(SECRET_PATH)
    assert secret is not None
    new = base64.b64decode(secret["data"]["tls.crt"]).decode()
    assert new != old.chain
    assert old.chain in trusted
    assert new in trusted
    assert await served(port) == ssl.PEM_cert_to_DER_cert(new)


async def test_a_mounted_certificate_is_served_and_followed(lab: Lab, port: int, tmp_path: Path) -> None:
    """As when cert-manager renews it. Half of a change, a certificate without its key, is not used."""
    old, new = (make_certificate(("localhost",), datetime.now(UTC)) for _ in range(2))
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    chain.write_text(old.chain, "utf-8")
    key.write_text(old.key, "utf-8")
    operator = await lab.start_operator(webhook="true", webhook_port=str(port), webhook_cert_dir=str(tmp_path))
    assert await served(port) == ssl.PEM_cert_to_DER_cert(old.chain)
    assert await lab.api.get(SECRET_PATH) is None

    chain.write_text(new.chain, "utf-8")

    async def is_noticed() -> bool:
        return "the webhook's certificate cannot be used" in operator.log.read_text("utf-8")

    await until(is_noticed, "the half of a change is noticed")
    assert await served(port) == ssl.PEM_cert_to_DER_cert(old.chain)
    key.write_text(new.key, "utf-8")

    async def is_followed() -> bool:
        return await served(port) == ssl.PEM_cert_to_DER_cert(new.chain)

    await until(is_followed, "the new certificate is served")


async def test_an_object_that_became_invalid_can_be_edited_and_deleted(lab: Lab) -> None:
    """A rule of the CRD that came later does not lock up what is there."""
    loose = yaml.safe_load(TARGET.read_text("utf-8"))
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["machine"]["x-kubernetes-validations"]
    await lab.run_kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump(loose))
    manifest = flow_machine("orders", "kafka:9092", prefix="orders", deletionPolicy="Delete")
    manifest["spec"]["machine"]["states"][0]["outgoingTransitions"][0]["targetState"] = "nowhere"

    async def is_taken() -> bool:
        try:
            await lab.apply(manifest)
        except KubectlError:  # the API server does not know the loose schema yet
            return False
        return True

    await until(is_taken, "the machine is taken")
    await asyncio.to_thread(install_crds, lab.cluster.kubectl)

    async def is_strict() -> bool:
        try:
            await lab.apply({**manifest, "metadata": {"name": "another"}})
        except KubectlError as error:
            return "targetState" in str(error)
        await lab.run_kubectl("delete", "fm", "another")
        return False

    await until(is_strict, "the rule is back")
    await lab.start_operator()
    stalled = await lab.until_condition("orders", "Stalled", status="True", reason="MachineInvalid")
    assert "spec.machine.states[0].outgoingTransitions[0].targetState" in stalled["message"]
    await lab.run_kubectl("label", "fm", "orders", "a=b")
    await lab.run_kubectl("scale", "fm/orders", "--replicas=0")
    await lab.until_condition("orders", "Stalled", status="True", reason="MachineInvalid")
    await lab.run_kubectl("delete", "fm", "orders", "--timeout=20s")
