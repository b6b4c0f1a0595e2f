"""`import`: a Flow Manager configuration as a FlowMachine on the standard output; what to decide on the other one."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.text import Text

from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.cli.command import EXIT_OK, EXIT_PROBLEM, Command
from flowmachine.cli.output import error_console
from flowmachine.cli.problem_text import print_judgement
from flowmachine.cli.source import load_flow_machine, read_source
from flowmachine.config.build import check_hooks, check_resource
from flowmachine.config.flow_manager import is_saga_json
from flowmachine.config.imported import Imported, import_resource
from flowmachine.config.resource import FlowMachine
from flowmachine.config.text import parse_documents
from flowmachine.config.yaml_writer import write_yaml
from flowmachine.diagram.typography import clean_text
from flowmachine.errors import ConfigurationError


def secret_command(imported: Imported, namespace: str | None) -> str:
    """How to make the Secret; values that stand in the saga.json are left for the reader to fill in."""
    parts = ["kubectl create secret generic", imported.secret]
    if namespace is not None:
        parts += ["--namespace", shlex.quote(namespace)]
    for each in imported.keys:
        source = f"--from-file={each.key}=" + (shlex.quote(each.file) if each.file is not None else "FILE")
        parts.append(f"\\\n    {source}")
    return " ".join(parts)


def decisions(resource: FlowMachine, imported: Imported) -> Iterator[str]:
    """What a person has to know or to decide before the machine runs."""
    spec = resource.spec
    in_file = [each.key for each in imported.keys if each.file is None]
    if in_file:
        yield (
            f"these values stand in the saga.json in the clear: {', '.join(in_file)}. Put them into the Secret, and "
            "consider changing them: whoever could read the file knows them"
        )
    if spec.persistence.type != "none" and not spec.persistence.read_through:
        yield (
            "sagas in flight: set spec.persistence.readThrough to true to take over those that Flow Manager has kept "
            "in its store; without it events of such sagas are kept as unmatched"
        )
    if any(channel.kafka and channel.kafka.input_topics for channel in spec.channels):
        yield (
            "the consumer groups keep their names, so reading goes on where Flow Manager has stopped: stop it before "
            "this machine starts"
        )
    commands = [c for state in spec.machine.states for c in (state.output_command, *state.side_effects) if c]
    if any(command.hook for command in commands) or spec.settings.deep_merge_metadata.hook:
        yield (
            "hooks run within bounds and with frozen inputs (docs/hooks.md): compare them with recorded inputs "
            "(`flowmachine import --compare`)"
        )


def _convert(source: str, text: bytes, arguments: argparse.Namespace) -> int:
    if not any(is_saga_json(document.value) for document in parse_documents(text, source)):
        message = "is no Flow Manager configuration (machineDefinition, communicationProtocols, ...)"
        raise ConfigurationError.of(source, "not-a-saga-json", message)
    resource = load_flow_machine(source, text, arguments.name, os.environ)
    imported = import_resource(resource, namespace=arguments.namespace)
    findings = [*check_hooks(resource, JavaScriptHooks()), *check_resource(resource)]
    sys.stdout.write(write_yaml(imported.document))
    console = error_console()
    if imported.keys:
        console.print(Text("The machine expects this Secret:", "bold"))
        for line in secret_command(imported, arguments.namespace).splitlines():
            console.print(Text(f"    {clean_text(line)}"))
    for decision in decisions(resource, imported):
        console.print(Text.assemble(("  ? ", "yellow"), clean_text(decision)))
    print_judgement(console, (), findings, source=source)
    return EXIT_PROBLEM if any(finding.severity == "error" for finding in findings) else EXIT_OK


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", help="a Flow Manager configuration (saga.json); - is the standard input"
    )
    parser.add_argument("--name", help="name of the machine; by default its consumer group's")
    parser.add_argument("--namespace", metavar="NAMESPACE", help="its namespace (none: that of kubectl)")
    parser.add_argument(
        "--compare",
        metavar="RECORDED",
        type=Path,
        help="do not convert: run recorded inputs (JSON lines) through Flow Manager's meaning of the file and through "
        "ours, and show where they differ",
    )


def _run(arguments: argparse.Namespace) -> int:
    source, text = read_source(arguments.file)
    if arguments.compare is None:
        return _convert(source, text, arguments)
    from flowmachine.cli.comparing import compare

    return compare(source, text, arguments.name, arguments.compare)


IMPORT: Final = Command(
    name="import",
    summary="turn a Flow Manager configuration into a FlowMachine, or rehearse the move",
    configure=_configure,
    run=_run,
    details="The FlowMachine goes to the standard output, what to decide to the standard error output.\n"
    "$SAGA_ID_PREFIX is taken over. Exit code 1: there are errors; with --compare: there are differences.",
)
