"""The operator's own metrics, and that `docs/metrics.md` names all of them."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from flowmachine_operator.metrics import Metrics

PAGE = (Path(__file__).resolve().parents[3] / "docs/metrics.md").read_text("utf-8")


def test_the_page_names_what_the_code_serves() -> None:
    served = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(Metrics().render().decode())
    }
    rows = re.findall(r"^\| `(flowmachine_operator_\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert dict(rows) == served
