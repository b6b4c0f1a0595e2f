"""`-f FILE` and the environment -> a FlowMachine."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from flowmachine.config.fields import SagaIdPrefix
from flowmachine.config.load import load_text
from flowmachine.config.resource import FlowMachine
from flowmachine.errors import ConfigurationError, Problem

STANDARD_INPUT: Final = "-"
FILE_VARIABLE: Final = "CONFIGURATIONS_FILE_PATH"
PREFIX_VARIABLE: Final = "SAGA_ID_PREFIX"


class SourceError(ConfigurationError):
    """Something is wrong in a file, whose name people have to be told beside the problems."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.source = source


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """`-f` and `--name`."""
    from_environment = os.environ.get(FILE_VARIABLE) or None
    parser.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        default=from_environment,
        required=from_environment is None,
        help=f"a FlowMachine, or a Flow Manager configuration (saga.json); - is the standard input; ${FILE_VARIABLE}",
    )
    parser.add_argument(
        "--name",
        help="name of the machine if the file is a saga.json, which has none; by default its consumer group's",
    )


def read_source(file: str) -> tuple[str, bytes]:
    """The name and the content of a file, or of the standard input. Raises ConfigurationError."""
    if not file:
        raise ConfigurationError.of("-f", "file-not-readable", "names no file: is a variable empty?")
    if file == STANDARD_INPUT:
        return "standard input", sys.stdin.buffer.read()
    try:
        return file, Path(file).read_bytes()
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a path"
        raise ConfigurationError.of(file, "file-not-readable", f"cannot be read: {detail}") from error


def load_source(arguments: argparse.Namespace) -> FlowMachine:
    """The FlowMachine that the options name. Raises ConfigurationError, which is SourceError for what stands in it."""
    source, text = read_source(arguments.file)
    try:
        return load_flow_machine(source, text, arguments.name, os.environ)
    except ConfigurationError as error:
        raise SourceError(source, error.problems) from error


def load_flow_machine(source: str, text: bytes, name: str | None, environment: Mapping[str, str]) -> FlowMachine:
    """The text as a FlowMachine; saga ids begin with `SAGA_ID_PREFIX` if the environment has it."""
    prefix = environment.get(PREFIX_VARIABLE)
    resource = load_text(text, source, name=name)
    if prefix is None:
        return resource
    try:
        checked = TypeAdapter[str](SagaIdPrefix).validate_python(prefix)
    except ValidationError as error:
        message = "is not a prefix for saga ids: at most 63 characters, none of them a control character"
        raise ConfigurationError.of(PREFIX_VARIABLE, "wrong-form", message) from error
    settings = resource.spec.settings.model_copy(update={"saga_id_prefix": checked})
    return resource.model_copy(update={"spec": resource.spec.model_copy(update={"settings": settings})})
