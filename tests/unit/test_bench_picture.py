"""The picture of benchmark results shows both figures of a pair, to scale, and nothing that was not measured."""

import json
from pathlib import Path
from xml.etree import ElementTree

from bench.picture import BAR_WIDTH_MAX, draw, read_values

_SVG = "{http://www.w3.org/2000/svg}"


def test_bars_are_to_scale_and_carry_their_values() -> None:
    picture = draw({"throughput.engine": 50_000, "throughput.passthrough": 100_000}, caption="here")
    root = ElementTree.fromstring(picture)  # noqa: S314 - ours
    widths = [float(rect.attrib["width"]) for rect in root.iter(f"{_SVG}rect")]
    assert widths == [BAR_WIDTH_MAX / 2, BAR_WIDTH_MAX]
    texts = [text.text for text in root.iter(f"{_SVG}text")]
    assert texts == ["Events per second", "50,000 engine", "100,000 pass-through", "here"]


def test_a_figure_without_its_counterpart_is_left_out() -> None:
    assert "<rect" not in draw({"throughput.engine": 1, "latency.passthrough_p50": 1}, caption="<none>")


def test_of_a_figure_in_several_files_the_last_counts(tmp_path: Path) -> None:
    files = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for value, file in enumerate(files, start=1):
        machine = {"cores": 2, "cpu": "X"}
        file.write_text(json.dumps({"name": "a", "value": value, "run": f"2026-01-0{value}T00:00", "machine": machine}))
    assert read_values(files) == ({"a": 2}, "2 cores (X), broker and load included; 2026-01-02")
