"""The dashboard and the alert rules ask for metrics and labels that there are, and every alert has its runbook text."""

import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "dashboards/alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
PANELS = json.loads((ROOT / "dashboards/grafana.json").read_text("utf-8"))["panels"]
EXPRESSIONS = [rule["expr"] for rule in RULES] + [target["expr"] for panel in PANELS for target in panel["targets"]]
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")

# `docs/metrics.md` is compared with the code by the tests of the Prometheus adapter.
_ROW = re.compile(r"^\| `(flow\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
METRICS = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in _ROW.findall((ROOT / "docs/metrics.md").read_text("utf-8"))
}
_SELECTOR = re.compile(r"\b(flow\w+)\b(?:\{([^}]*)\})?")


def split(name: str) -> tuple[str, set[str]]:
    """The metric behind a series, and the labels that only this series has."""
    for suffix, own in (("_bucket", {"le"}), ("_sum", set[str]()), ("_count", set[str]())):
        base = name.removesuffix(suffix)
        if base != name and METRICS.get(base, ("", set()))[0] == "histogram":
            return base, own
    return name, set()


def grouped(expression: str) -> set[str]:
    groups = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str) -> None:
    found = _SELECTOR.findall(expression)
    assert found
    labels: set[str] = set()
    for series, selector in found:
        metric, own = split(series)
        assert metric in METRICS
        labels |= METRICS[metric][1] | own
        assert set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", selector)) <= METRICS[metric][1] | own
    assert grouped(expression) <= labels


def test_a_name_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError):
        test_every_metric_and_label_exists("sum by (state) (flowmachine_nothing)")
    with pytest.raises(AssertionError):
        test_every_metric_and_label_exists("sum by (nothing) (flowmachine_sagas)")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_has_a_runbook_text(rule: dict) -> None:
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in RUNBOOK


def test_runbook_has_no_text_for_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in RULES}
