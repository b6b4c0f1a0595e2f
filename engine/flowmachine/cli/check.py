"""`check`: what is wrong in a file (errors: it does not run), and what looks wrong (warnings: it runs).

`--output json` prints one object:

| field      | holds                                                                                               |
|------------|-----------------------------------------------------------------------------------------------------|
| `file`     | the name of the source                                                                              |
| `machine`  | the machine's name, null when the file has errors                                                   |
| `revision` | the hash of its content by which sagas know it, null likewise                                        |
| `isValid`  | whether the exit code is 0                                                                           |
| `problems` | errors: a list of `{path, code, message}`                                                            |
| `findings` | warnings: `{path, code, message, severity, trace}`; `trace`: events that lead there, or null |
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.cli.command import EXIT_OK, EXIT_PROBLEM, Command
from flowmachine.cli.output import output_console
from flowmachine.cli.problem_text import count, print_judgement
from flowmachine.cli.source import add_source_options, load_flow_machine, read_source
from flowmachine.config.build import check_hooks, check_resource, revision_of
from flowmachine.config.flow_manager import is_saga_json
from flowmachine.config.resource import FlowMachine
from flowmachine.config.text import parse_documents
from flowmachine.core.check import Finding
from flowmachine.errors import ConfigurationError, Problem

_SAGA_JSON_NAMES: Final = {
    "machine": "machineDefinition",
    "channels": "communicationProtocols",
    "persistence": "persistencyManagement",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is to say about a file."""

    source: str
    resource: FlowMachine | None
    problems: Sequence[Problem]
    findings: Sequence[Finding]

    def is_valid(self, *, is_strict: bool) -> bool:
        """Whether nothing stands against running it; a strict judge lets no warning pass."""
        if is_strict and self.findings:
            return False
        return not self.problems and all(finding.severity == "warning" for finding in self.findings)


def judge(source: str, text: bytes, name: str | None) -> Judgement:
    """Everything at once; never raises for what stands in the file."""
    try:
        resource = load_flow_machine(source, text, name, os.environ)
        findings = [*check_hooks(resource, JavaScriptHooks()), *check_resource(resource)]
    except ConfigurationError as error:
        return Judgement(source, None, error.problems, ())
    is_converted = any(is_saga_json(document.value) for document in parse_documents(text, source))
    return Judgement(source, resource, (), [_moved(finding, is_converted=is_converted) for finding in findings])


def to_json(judgement: Judgement, *, is_strict: bool) -> str:
    """The judgement as documented above."""
    resource = judgement.resource
    document = {
        "file": judgement.source,
        "machine": None if resource is None else resource.metadata.name,
        "revision": None if resource is None else revision_of(resource.spec),
        "isValid": judgement.is_valid(is_strict=is_strict),
        "problems": [
            {"path": problem.path, "code": problem.code, "message": problem.message} for problem in judgement.problems
        ],
        "findings": [
            {
                "path": finding.path,
                "code": finding.code,
                "message": finding.message,
                "severity": finding.severity,
                "trace": None if finding.trace is None else list(finding.trace),
            }
            for finding in judgement.findings
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _moved(finding: Finding, *, is_converted: bool) -> Finding:
    """Findings name paths below `spec`; people look for the paths of their own file."""
    path = f"spec.{finding.path}"
    if is_converted:
        first, _, rest = finding.path.partition(".")
        name, bracket, index = first.partition("[")
        path = f"{_SAGA_JSON_NAMES.get(name, name)}{bracket}{index}" + (f".{rest}" if rest else "")
    return Finding(path, finding.code, finding.message, finding.severity, finding.trace)


def _configure(parser: argparse.ArgumentParser) -> None:
    add_source_options(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer (%(default)s)")
    parser.add_argument("--strict", action="store_true", help="fail on warnings too")


def _run(arguments: argparse.Namespace) -> int:
    is_strict: bool = arguments.strict
    judgement = _judge_source(arguments.file, arguments.name)
    if arguments.output == "json":
        print(to_json(judgement, is_strict=is_strict))
    else:
        _print_text(judgement)
    return EXIT_OK if judgement.is_valid(is_strict=is_strict) else EXIT_PROBLEM


def _judge_source(file: str, name: str | None) -> Judgement:
    try:
        return judge(*read_source(file), name)
    except ConfigurationError as error:
        return Judgement(file, None, error.problems, ())


def _print_text(judgement: Judgement) -> None:
    console = output_console()
    source = judgement.source
    if judgement.resource is not None:
        machine = judgement.resource.spec.machine
        transitions = sum(len(state.outgoing_transitions) for state in machine.states)
        states = f"{count(len(machine.states), 'state')}, {count(transitions, 'transition')}"
        source = f"{source}: machine {judgement.resource.metadata.name}, {states}"
    print_judgement(console, judgement.problems, judgement.findings, source=source)


CHECK: Final = Command(
    name="check",
    summary="say what is wrong, and what looks wrong, in a file",
    configure=_configure,
    run=_run,
    details="Exit code 0: it runs; 1: it has errors (with --strict: or warnings).\n"
    "JSON: {file, machine, revision, isValid, problems: [{path, code, message}],\n"
    "       findings: [{path, code, message, severity, trace}]}",
)
