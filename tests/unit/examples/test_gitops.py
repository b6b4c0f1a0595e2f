"""The GitOps examples: Argo CD's health in Lua, and manifests that are what they claim to be."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart
from lupa import LuaRuntime, lua_type

from flowmachine.config.load import load_text
from tests.support.charts import CHART

GITOPS = Path(__file__).resolve().parents[3] / "examples/gitops"
ARGO = GITOPS / "argocd"
CASES = yaml.safe_load((ARGO / "health_test.yaml").read_text())["tests"]


def judge(script: str, machine: dict[str, Any]) -> dict[str, str]:
    """Run a health script as Argo CD does: with the object as `obj`, and without files, processes and modules."""
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False, register_builtins=False)
    lua.execute("os, io, package, require, dofile, loadfile = nil, nil, nil, nil, nil, nil")
    lua.globals()["obj"] = _to_lua(lua, machine)
    result = lua.execute(script)
    assert lua_type(result) == "table"
    return {str(key): str(value) for key, value in result.items()}


def _to_lua(lua: LuaRuntime, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _to_lua(lua, item) for key, item in value.items()})
    if isinstance(value, list):
        return lua.table_from([_to_lua(lua, item) for item in value])
    return value


@pytest.mark.parametrize("case", CASES, ids=[Path(case["inputPath"]).stem for case in CASES])
def test_health(case: dict[str, Any]) -> None:
    machine = yaml.safe_load((ARGO / case["inputPath"]).read_text())
    assert judge((ARGO / "health.lua").read_text(), machine) == case["healthStatus"]


def test_health_cases_use_every_input() -> None:
    assert {case["inputPath"] for case in CASES} == {f"testdata/{path.name}" for path in ARGO.glob("testdata/*")}


def test_config_map_has_the_script() -> None:
    data = yaml.safe_load((ARGO / "argocd-cm.yaml").read_text())["data"]
    assert data == {"resource.customizations.health.flowmachine.io_FlowMachine": (ARGO / "health.lua").read_text()}


def test_values_fit_the_chart() -> None:
    argo = yaml.safe_load((ARGO / "operator.yaml").read_text())["spec"]["source"]["helm"]["valuesObject"]
    flux = list(yaml.safe_load_all((GITOPS / "flux/operator.yaml").read_text()))[1]["spec"]["values"]
    with Chart.load(CHART) as chart:
        for values in (argo, flux):
            chart.validate_schema(values)


@pytest.mark.parametrize("path", sorted(GITOPS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_manifests_have_kind_and_name(path: Path) -> None:
    if path.name == "health_test.yaml":
        return
    for document in yaml.safe_load_all(path.read_text()):
        assert document["apiVersion"]
        assert document["kind"]
        assert document["metadata"]["name"]


def test_machine_of_the_base_is_valid() -> None:
    base = GITOPS / "kustomize/base/shop.yaml"
    assert load_text(base.read_bytes(), base.name).metadata.name == "shop"
