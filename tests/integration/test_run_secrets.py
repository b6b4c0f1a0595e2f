"""`flowmachine run` with secret files that cannot be used ends with a sentence that names the field and the file."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.orders import order_document

ENGINE = Path(__file__).parents[2] / "engine"
KAFKA = {"brokers": "localhost:9", "outputTopics": ["orders-commands"], "tls": {}}
REST = {"host": "localhost", "headers": {"X-Token": "t"}, "tls": {}}
CONTENTS = {"does not exist": None, "is empty": b"\n", "is not UTF-8 text": b"hunter2\xff"}


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        ("kafka.brokers", "does not exist"),
        ("kafka.brokers", "is empty"),
        ("kafka.tls.ca", "does not exist"),
        ("rest.headers.X-Token", "does not exist"),
        ("rest.headers.X-Token", "is empty"),
        ("rest.tls.ca", "is not UTF-8 text"),
    ],
)
def test_secret_that_cannot_be_used_is_a_sentence(tmp_path: Path, place: str, trouble: str) -> None:
    secret, content = tmp_path / "secret", CONTENTS[trouble]
    if content is not None:
        secret.write_bytes(content)
    *owners, name = place.split(".")
    channel: dict[str, Any] = {owners[0]: yaml.safe_load(yaml.safe_dump({"kafka": KAFKA, "rest": REST}[owners[0]]))}
    owner = channel
    for part in owners:
        owner = owner[part]
    owner[name] = {"file": str(secret)}
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(order_document("orders", channel)), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flowmachine", "run", "-f", str(file), "--http", "127.0.0.1:0", "--data-dir", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1, said
    assert f"spec.channels[0].{place}" in said
    assert f"the secret file {secret} {trouble}" in said
    assert "Traceback" not in said
    assert "hunter2" not in said


def test_secret_of_the_store_is_named_by_its_field(tmp_path: Path) -> None:
    document = order_document("orders", {"rest": {"host": "localhost"}})
    configurations = {"connectionUri": {"file": str(tmp_path / "secret")}}
    document["spec"]["persistence"] = {"type": "postgres", "configurations": configurations}
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(document), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "flowmachine", "run", "-f", str(file), "--http", "127.0.0.1:0", "--data-dir", tmp_path],
        env=os.environ | {"PYTHONPATH": str(ENGINE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "spec.persistence.configurations.connectionUri" in done.stderr
    assert f"the secret file {tmp_path / 'secret'} does not exist" in done.stderr
