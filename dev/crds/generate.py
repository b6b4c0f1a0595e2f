"""`crds/`, its copy in the chart, and docs/reference.md: `python -m dev.crds` writes, `--check` compares."""

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from dev.crds.definitions import GROUP, PLURAL, build_crd, build_saga_crd, build_schema
from dev.crds.reference import render_reference
from dev.crds.saga import SAGA_PLURAL
from dev.crds.structural import Schema

_ROOT: Final = Path(__file__).resolve().parents[2]
TARGET: Final = _ROOT / "crds" / f"{PLURAL}.{GROUP}.yaml"
REFERENCE_TARGET: Final = _ROOT / "docs/reference.md"
SAGA_TARGET: Final = _ROOT / "crds" / f"{SAGA_PLURAL}.{GROUP}.yaml"
CHART_FOLDER: Final = _ROOT / "helm/flowmachine/files/crds"
"""Has a copy of each file: a chart cannot read outside of its folder."""
HEADER: Final = "# Generated from engine/flowmachine/config by `python -m dev.crds`. Do not edit.\n"
SAGA_HEADER: Final = "# Generated from dev/crds/saga.py by `python -m dev.crds`. Do not edit.\n"


def render(crd: Schema | None = None) -> str:
    """A file's content; by default that of the FlowMachine."""
    header = HEADER if crd is None else SAGA_HEADER

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # an alias would be unreadable
            return True

    return header + yaml.dump(crd or build_crd(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; the exit code says whether they are current."""
    parser = argparse.ArgumentParser(prog="python -m dev.crds", description="Generate crds/ from the pydantic models.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if they are not current")
    files = {TARGET: render(), SAGA_TARGET: render(build_saga_crd())}
    files |= {CHART_FOLDER / target.name: text for target, text in files.items()}
    files[REFERENCE_TARGET] = render_reference(build_schema())
    if not parser.parse_args(arguments).check:
        for target, text in files.items():
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, "utf-8")
        return 0
    old = [target.name for target, text in files.items() if not target.is_file() or target.read_text("utf-8") != text]
    if not old:
        return 0
    print(f"Not current: {', '.join(old)}. Run `python -m dev.crds`.", file=sys.stderr)
    return 1
