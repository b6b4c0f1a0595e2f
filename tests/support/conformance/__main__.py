"""Writes what an engine needs to be put to a file of cases: its saga.json and the secret files that this names."""

import argparse
import json
import sys
from pathlib import Path

from tests.support.conformance.cases import NAMES, build_saga_json, read_cases, topics_of, write_files
from tests.support.conformance.environment import ENDPOINTS_DEFAULT, build_place


def main(arguments: list[str] | None = None) -> None:
    """Write the files, and say what else the engine needs."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.conformance", description=__doc__)
    parser.add_argument("cases", choices=NAMES)
    parser.add_argument("--brokers", required=True, help="the engine's Kafka, HOST:PORT,...")
    parser.add_argument("--endpoints", default=ENDPOINTS_DEFAULT, help="HOST:PORT where the suite will listen")
    parser.add_argument("--folder", type=Path, required=True, help="where to write; the engine must see the same path")
    parser.add_argument("--flowmachine", action="store_true", help="with what only FlowMachine has a setting for")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    place = build_place(chosen.cases, chosen.brokers, chosen.endpoints, chosen.folder.resolve())
    saga_json = build_saga_json(chosen.cases, place, is_ours=chosen.flowmachine)
    write_files(chosen.cases, place)
    (place.folder / "saga.json").write_text(json.dumps(saga_json, indent=2), "utf-8")
    variables = {"CONFIGURATIONS_FILE_PATH": str(place.folder / "saga.json")}
    variables |= read_cases(chosen.cases).get("environment", {})
    sys.stdout.write(f"topics: {' '.join(topics_of(saga_json))}\n")
    sys.stdout.writelines(f"variable: {name}={value}\n" for name, value in variables.items())


if __name__ == "__main__":
    main()
