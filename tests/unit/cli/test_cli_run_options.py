"""The options of `flowmachine run`: what is understood, and what is refused before anything starts."""

import argparse
from pathlib import Path

import pytest

from flowmachine.cli.main import main
from flowmachine.cli.run import parse_address, parse_level

EXAMPLE = Path(__file__).parents[3] / "engine/flowmachine/examples/orders.yaml"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("engine.local:65535", ("engine.local", 65535)),
        (":9000", ("127.0.0.1", 9000)),
    ],
)
def test_address_is_understood(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8080", "host", "host:", "host:65536", "host:-1", "::1:80", "[::1:80", "http://h:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
        parse_address(text)


def test_level_may_be_written_in_capitals() -> None:
    assert parse_level("INFO") == "info"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--http", "nonsense"],
        ["--log-level", "loud"],
        ["--log-format", "xml"],
        ["--advertise", ":8080"],
        ["--advertise", "engine:0"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", str(EXAMPLE), *arguments]) == 2
    assert "usage: flowmachine run" in capsys.readouterr().err


def test_level_of_the_environment_is_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    assert main(["run", "-f", str(EXAMPLE)]) == 2
    assert "'loud' ($LOG_LEVEL) is not one of trace, debug" in capsys.readouterr().err


def test_port_of_the_environment_is_checked_where_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PORT", "web")
    assert main(["run", "-f", str(EXAMPLE)]) == 2
    assert "'127.0.0.1:web' ($HTTP_HOST and $HTTP_PORT) is not an address" in capsys.readouterr().err
    assert main(["check", "-f", str(EXAMPLE)]) == 0


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["run", "-f", "orders.yaml", "--frob"], "flowmachine run"),
        (["sagas", "list", "--older", "1h"], "flowmachine sagas list"),
        (["sagas"], "flowmachine sagas"),
        (["frobnicate"], "flowmachine"),
        ([], "flowmachine"),
    ],
)
def test_wrong_usage_names_the_help_of_its_command(
    arguments: list[str], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert f"usage: {program} [-h]" in output.err
    assert output.err.endswith(f"`{program} --help` tells what there is.\n")
    assert output.out == ""


@pytest.mark.parametrize("count", ["0", "-1", "many", "5001"])
def test_demo_refuses_what_is_no_number_of_orders(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--sagas", count]) == 2
    assert "1 to 5000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "option"), [(["run", "-f", ""], "-f"), (["diagram", "-f", str(EXAMPLE), "-o", ""], "-o")]
)
def test_empty_name_is_told_apart_from_a_folder(
    arguments: list[str], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert f"{option}\n    names no file: is a variable empty?" in capsys.readouterr().err
