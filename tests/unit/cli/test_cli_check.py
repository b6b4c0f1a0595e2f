"""`flowmachine check`: what it says, in which form, and with which exit code."""

import io
import json
import sys
from pathlib import Path

import pytest

from flowmachine.cli.main import main

EXAMPLE = Path(__file__).parents[3] / "engine/flowmachine/examples/orders.yaml"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIGURATIONS_FILE_PATH", "SAGA_ID_PREFIX", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def changed(folder: Path, old: str, new: str) -> str:
    """Write the example with one text replaced, and return its path."""
    text = EXAMPLE.read_text("utf-8")
    assert old in text
    path = folder / "changed.yaml"
    path.write_text(text.replace(old, new), "utf-8")
    return str(path)


def with_warning(folder: Path) -> str:
    return changed(folder, "    businessStates:\n", "    businessStates:\n      - {id: 9, description: never}\n")


def test_example_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-f", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert "machine orders, 7 states, 6 transitions" in out
    assert out.endswith("0 errors, 0 warnings\n")


def test_problems_are_all_told_with_path_code_and_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "targetState: paid\n", "targetState: payed\n")
    assert main(["check", "-f", file]) == 1
    out = capsys.readouterr().out
    assert "spec.machine.states[0].outgoingTransitions[0].targetState" in out
    assert "'payed' is not a state; did you mean 'paid'?  [unknown-state]" in out
    assert out.endswith("1 error, 0 warnings\n")


def test_warnings_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-f", with_warning(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "[unused-business-state]" in out
    assert out.endswith("0 errors, 1 warning\n")


def test_strict_fails_on_warnings(tmp_path: Path) -> None:
    assert main(["check", "-f", with_warning(tmp_path), "--strict"]) == 1


def test_json_has_all_fields_for_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = with_warning(tmp_path)
    assert main(["check", "-f", file, "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["file"] == file
    assert document["machine"] == "orders"
    assert document["revision"]
    assert document["isValid"] is True
    assert document["problems"] == []
    (finding,) = document["findings"]
    assert finding["path"] == "spec.machine.businessStates[0]"
    assert finding["code"] == "unused-business-state"
    assert finding["severity"] == "warning"
    assert finding["trace"] is None


def test_json_has_all_fields_for_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "targetState: paid\n", "targetState: payed\n")
    assert main(["check", "-f", file, "--output", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["machine"] is None
    assert document["isValid"] is False
    (problem,) = document["problems"]
    assert problem["code"] == "unknown-state"
    assert set(problem) == {"path", "code", "message"}


def test_trace_leads_to_the_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "isFinal: true\n        businessStateId: 3", "isFinal: false\n        businessStateId: 3")
    assert main(["check", "-f", file]) == 0
    assert "way there: paymentExecuted → orderPrepared → orderDelivered" in capsys.readouterr().out


def test_findings_of_a_saga_json_have_its_own_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = {
        "initialState": "a",
        "creationEvent": "__created__",
        "states": [
            {"id": "a", "isFinal": True, "businessStateId": 1},
            {"id": "b", "isFinal": True, "businessStateId": 1},
        ],
        "businessStates": [{"id": 1, "description": "one"}],
    }
    channel = {"id": "c", "type": "kafka", "configurations": {"brokers": "localhost:9092", "outputTopics": ["t"]}}
    file = tmp_path / "saga.json"
    file.write_text(json.dumps({"machineDefinition": machine, "communicationProtocols": [channel]}), "utf-8")
    assert main(["check", "-f", str(file), "--output", "json", "--name", "old"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"] == "old"
    paths = {finding["code"]: finding["path"] for finding in document["findings"]}
    assert paths["unreachable-state"] == "machineDefinition.states[1]"
    assert paths["unused-channel"] == "communicationProtocols[0]"


def test_file_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIGURATIONS_FILE_PATH", str(EXAMPLE))
    assert main(["check"]) == 0


def test_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(EXAMPLE.read_bytes())))
    assert main(["check", "-f", "-"]) == 0
    assert capsys.readouterr().out.startswith("standard input: machine orders")


def test_missing_file_is_a_problem_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-f", str(tmp_path / "nothing.yaml")]) == 1
    out = capsys.readouterr().out
    assert "cannot be read: No such file or directory" in out
    assert "Traceback" not in out


def test_prefix_that_cannot_be_one_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGA_ID_PREFIX", "two\nlines")
    assert main(["check", "-f", str(EXAMPLE)]) == 1
    assert "SAGA_ID_PREFIX" in capsys.readouterr().out


def test_texts_of_the_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "targetState: paid\n", 'targetState: "[red]\\e[31mpaid"\n')
    assert main(["check", "-f", file]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]" in out


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "-f", "x", "--output", "xml"], ["sing"]])
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: flowmachine" in capsys.readouterr().err


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("flowmachine ")


def test_hook_that_cannot_be_compiled_is_an_error_at_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saga_json = json.loads((Path(__file__).parents[3] / "examples/flow-manager/saga.json").read_text("utf-8"))
    hook = {"type": "file", "encoding": "plain", "content": "export default ("}
    saga_json["machineDefinition"]["states"][0]["outputCommand"]["hook"] = hook
    file = tmp_path / "saga.json"
    file.write_text(json.dumps(saga_json), "utf-8")
    assert main(["check", "-f", str(file), "--output", "json"]) == 1
    judged = json.loads(capsys.readouterr().out)
    assert judged["isValid"] is False
    errors = [(each["path"], each["code"]) for each in judged["findings"] if each["severity"] == "error"]
    assert errors == [("machineDefinition.states[0].outputCommand.hook", "bad-hook")]
