"""The chart as Helm renders it, without a helm binary and without a cluster."""

from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

CHART = Path(__file__).resolve().parents[2] / "helm/flowmachine"
RELEASE = "flowmachine"
NAMESPACE = "flowmachine-system"

Manifest = dict[str, Any]


def render(values: Manifest | None = None, *, name: str = RELEASE) -> list[Manifest]:
    """All objects of a release, tests included."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(values or {}, name=name, namespace=NAMESPACE)
    return [
        document
        for path, text in sorted(rendered.items())
        if not path.endswith(".txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def notes(values: Manifest) -> str:
    """What Helm says after an installation."""
    with Chart.load(CHART) as chart:
        rendered = chart.render(values, name=RELEASE, namespace=NAMESPACE)
    return next(text for path, text in rendered.items() if path.endswith("NOTES.txt"))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only one of a kind."""
    (found,) = of_kind(manifests, kind)
    return found
