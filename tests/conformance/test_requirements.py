"""Every line of `requirements.yaml` is shown by a case or by a test that exists."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.conformance.cases import FOLDER, NAMES, read_cases

ROOT = Path(__file__).parents[2]
REQUIREMENTS: dict[str, dict[str, str]] = {
    name: line
    for section in yaml.safe_load((FOLDER / "requirements.yaml").read_text("utf-8")).values()
    for name, line in section.items()
}
CASES: list[dict[str, Any]] = [case for name in NAMES for case in read_cases(name)["cases"]]


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_line_is_shown(name: str) -> None:
    shown = REQUIREMENTS[name].get("shown")
    if shown is None:
        assert any(name in case["covers"] for case in CASES), "no case covers it"
    else:
        file, test = shown.split("::")
        assert test in functions_in(file), f"there is no {shown}"


def test_cases_cover_lines_that_exist() -> None:
    named = {name for case in CASES for name in case["covers"]}
    assert named <= REQUIREMENTS.keys()
    assert not [case["name"] for case in CASES if not case["covers"]]


def test_case_is_there_for_every_other_engine_too() -> None:
    """A line that only a case for FlowMachine covers would not be looked at elsewhere."""
    anywhere = {name for case in CASES if case.get("only") != "flowmachine" for name in case["covers"]}
    assert {name for name, line in REQUIREMENTS.items() if "shown" not in line} <= anywhere
