"""`flowmachine import`: the FlowMachine on the standard output, what to decide on the other, and the rehearsal."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowmachine.cli.main import main
from flowmachine.config.build import revision_of
from flowmachine.config.load import load_text
from flowmachine.config.yaml_text import parse_yaml
from flowmachine.config.yaml_writer import write_yaml

EXAMPLE: dict[str, Any] = json.loads((Path(__file__).parents[3] / "examples/flow-manager/saga.json").read_text("utf-8"))
Output = pytest.CaptureFixture[str]
HOOK = "export default ({ saga }) => {\n  return { payload: { id: saga.sagaId, paid: saga.metadata.paymentId } };\n};\n"
CONCAT = "export default (before, value) => Array.isArray(before) ? before.concat(value) : undefined"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIGURATIONS_FILE_PATH", "SAGA_ID_PREFIX", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda it: None) -> str:
    document = copy.deepcopy(EXAMPLE)
    change(document)
    file = folder / "saga.json"
    file.write_text(json.dumps(document), "utf-8")
    return str(file)


def imported(file: str, *options: str) -> int:
    return main(["import", file, "--name", "orders", *options])


def hook(source: str) -> dict[str, str]:
    return {"type": "file", "encoding": "plain", "content": source}


def full(document: dict[str, Any]) -> None:
    """With everything that an import has to keep or to move."""
    document["machineDefinition"]["states"][1]["outputCommand"]["hook"] = hook(HOOK)
    document["settings"]["deepMergeMetadata"] = {"enabled": True, "hook": hook(CONCAT)}
    kafka = document["communicationProtocols"][0]["configurations"]
    kafka["authenticationProperties"] = {
        "ssl": {
            "ca": {"type": "file", "path": "/run/tls/ca.pem"},
            "cert": "CERT",
            "key": "KEY",
            "passphrase": "hunter1",
        },
        "sasl": {"mechanism": "scram-sha-512", "username": "shop", "password": "hunter2"},
    }
    headers = {"Content-Type": "application/json", "Authorization": "Bearer hunter3"}
    rest = {"protocol": "https", "endpoint": "mail", "port": 8443, "path": "/send", "method": "PUT", "headers": headers}
    document["communicationProtocols"].append({"id": "mail", "type": "rest", "configurations": rest})
    document["machineDefinition"]["states"][1]["sideEffects"] = [{"channel": "mail", "label": "1e3"}]
    document["persistencyManagement"]["configurations"]["connectionUri"] = "mongodb://shop:hunter4@db/shop"


def test_machine_is_the_same_and_says_its_namespace(tmp_path: Path, capsys: Output) -> None:
    file = written(tmp_path, full)
    assert imported(file, "--namespace", "shop") == 0
    converted = load_text(capsys.readouterr().out, "orders.yaml")
    original = load_text(Path(file).read_bytes(), "saga.json", name="orders")
    assert (converted.metadata.name, converted.metadata.namespace) == ("orders", "shop")
    assert revision_of(converted.spec) == revision_of(original.spec)
    assert converted.spec.machine == original.spec.machine
    assert converted.spec.settings == original.spec.settings
    mail = converted.spec.channels[1].rest
    assert mail is not None
    assert (mail.protocol, mail.host, mail.port, mail.path, mail.method) == ("https", "mail", 8443, "/send", "PUT")


def test_no_secret_is_written_and_the_expected_one_is_named_with_its_keys(tmp_path: Path, capsys: Output) -> None:
    assert imported(written(tmp_path, full), "--namespace", "shop") == 0
    out, err = capsys.readouterr()
    for secret in ("hunter", "KEY", "CERT"):
        assert secret not in out
        assert f"={secret}" not in err
    assert "Content-Type: application/json" in out
    assert "kubectl create secret generic orders-flow-manager --namespace shop" in err
    keys = [line.strip().removesuffix(" \\") for line in err.splitlines() if "--from-file" in line]
    assert keys == [
        "--from-file=services-kafka-tls-ca=/run/tls/ca.pem",
        "--from-file=services-kafka-tls-cert=FILE",
        "--from-file=services-kafka-tls-key=FILE",
        "--from-file=services-kafka-tls-passphrase=FILE",
        "--from-file=services-kafka-sasl-username=FILE",
        "--from-file=services-kafka-sasl-password=FILE",
        "--from-file=mail-rest-headers-Authorization=FILE",
        "--from-file=persistence-connectionUri=FILE",
    ]
    for decision in ("stand in the saga.json in the clear", "readThrough", "consumer groups keep", "hooks run within"):
        assert decision in err


def test_saga_id_prefix_of_the_environment_is_kept(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGA_ID_PREFIX", "order-")
    assert imported(written(tmp_path)) == 0
    assert load_text(capsys.readouterr().out, "x").spec.settings.saga_id_prefix == "order-"


def test_what_is_wrong_is_told_at_its_place_and_nothing_is_written(tmp_path: Path, capsys: Output) -> None:
    def change(document: dict[str, Any]) -> None:
        document["machineDefinition"]["states"][0]["outputCommand"]["channel"] = "nowhere"

    assert imported(written(tmp_path, change)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "machineDefinition.states[0].outputCommand.channel" in err


def test_hook_that_cannot_be_compiled_is_an_error(tmp_path: Path, capsys: Output) -> None:
    def change(document: dict[str, Any]) -> None:
        document["machineDefinition"]["states"][0]["outputCommand"]["hook"] = hook("export default (")

    assert imported(written(tmp_path, change)) == 1
    assert "SyntaxError" in capsys.readouterr().err


def test_flow_machine_is_no_saga_json(capsys: Output) -> None:
    example = Path(__file__).parents[3] / "engine/flowmachine/examples/orders.yaml"
    assert imported(str(example)) == 1
    assert "is no Flow Manager configuration" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["1e3", "0o17", "yes", "null", "~", "", "2024-01-01", "a: b", "- a", "12", "#", "ü"])
def test_texts_stay_texts_in_yaml(text: str) -> None:
    for value in (text, f"{text}\n", f" {text}\n\tx", f"{text} \nx", f"{text}\u2028b"):
        (document,) = parse_yaml(write_yaml({"field": value, value: [value]}), "x")
        assert document.value == {"field": value, value: [value]}


# --- the rehearsal ----------------------------------------------------------------------------------------------------

RECORDED = [
    {"key": "o-1", "value": {"associatedEntityId": "e", "metadata": {"total": 12.0, "tags": ["a"]}}, "timestamp": 1},
    {"key": "o-1", "value": {"messageLabel": "nonsense", "messagePayload": {}}},
    {"key": "o-1", "value": {"messageLabel": "paymentExecuted", "messagePayload": {}}},  # against its schema
    {"key": "o-1", "value": {"messageLabel": "paymentExecuted", "messagePayload": {"paymentId": "p", "tags": ["b"]}}},
    {"key": "o-1", "value": {"messageLabel": "orderPrepared", "messagePayload": None}},
    {"key": "o-1", "value": {"messageLabel": "orderDelivered"}},
    {"key": "o-2", "value": {"messageLabel": "orderPrepared"}},
    {"key": "o-3", "value": {"associatedEntityId": "e", "metadata": {"tags": {"length": 1, "0": 1}}}},
    {
        "key": "o-3",
        "value": {
            "messageLabel": "paymentExecuted",
            "messagePayload": {"paymentId": "p", "tags": [[2], {"__proto__": 1}]},
        },
    },
]  # fmt: skip


def compared(folder: Path, change: Callable[[dict[str, Any]], Any], recorded: Any = None) -> int:
    recording = folder / "recorded.jsonl"
    lines = [line if isinstance(line, str) else json.dumps(line) for line in (recorded or RECORDED)]
    recording.write_text("\n".join(lines), "utf-8")
    return imported(written(folder, change), "--compare", str(recording))


def with_main_hook(source: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["machineDefinition"]["states"][1]["outputCommand"]["hook"] = hook(source)

    return change


@pytest.mark.parametrize("change", [lambda it: None, full, with_main_hook(HOOK)])
def test_same_meaning_shows_no_difference(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path, capsys: Output
) -> None:
    assert compared(tmp_path, change) == 0
    assert capsys.readouterr().out == "9 inputs, 3 keys, 0 differences\n"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("export default ({saga}) => { saga.metadata.seen = true; return {payload: saga.metadata} }", '"seen": true'),
        ("export default () => ({payload: {at: Date.now()}})", "commands on 'services'"),
    ],
)
def test_hook_that_depends_on_more_than_its_input_is_shown(
    source: str, told: str, tmp_path: Path, capsys: Output
) -> None:
    assert compared(tmp_path, with_main_hook(source)) == 1
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "a"}', '{"key": "a", "value": {}}', '{"key": 1, "value": {}}'])
def test_recording_that_is_none_is_told_with_its_line(line: str, tmp_path: Path, capsys: Output) -> None:
    assert compared(tmp_path, lambda it: None, [RECORDED[0], line]) == 1
    assert "line 2" in capsys.readouterr().err
