"""Documents that must keep up with the code."""

import re
from pathlib import Path

from flowmachine_operator import plan

ROOT = Path(__file__).resolve().parents[3]
PLAN = Path(plan.__file__).parent
# What else begins with a capital and stands in quotes there.
TYPES = {"Ready", "Reconciling", "Stalled", "KafkaReachable", "MachineValid", "PartitionsAligned", "StoreReady"}
NO_REASONS = TYPES | {"True", "False", "Unknown", "Normal", "Warning"}
FILES = ("verdict.py", "conditions.py", "facts.py", "kube_events.py")


def test_every_reason_of_a_condition_is_explained() -> None:
    text = (ROOT / "docs/conditions.md").read_text()
    explained = set(re.findall(r"`([A-Z]\w+)`", text))
    quoted = {word for name in FILES for word in re.findall(r'"([A-Z][a-zA-Z]+)"', (PLAN / name).read_text())}
    assert quoted - NO_REASONS - explained == set()
    assert explained - quoted == set(), "explained, but nowhere in the code"


def test_every_kind_of_condition_is_explained() -> None:
    text = (ROOT / "docs/conditions.md").read_text()
    missing = {name for name in TYPES if name not in text}
    assert missing == set()
