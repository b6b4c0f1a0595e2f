"""Payload schemas (JSON Schema, draft-07): checked once, compiled once, never with a look at another document."""

from typing import Final, NoReturn

import jsonschema_rs

from flowmachine.config.documents import Path, as_object, children_of
from flowmachine.core.definition import Payload, PayloadCheck

SENTENCE_LENGTH_MAX: Final = 300
"""A sentence may name fields of the payload; their number and length are the sender's."""

_MASK: Final = "the value"
"""Stands for what a payload holds, so that no payload gets into a log line."""


def check_schema(schema: dict[str, object]) -> tuple[Path, str] | None:
    """Where in the schema something is wrong, and what; None for a valid one."""
    remote: list[str] = []

    def refuse(uri: str) -> NoReturn:
        remote.append(uri)
        raise ValueError("remote documents are not read")

    try:
        jsonschema_rs.Draft7Validator(schema, retriever=refuse, mask=_MASK)
    except jsonschema_rs.ValidationError as error:
        if remote:
            return _path_of_reference(
                schema
            ), f"refers to another document ('{_cut(remote[0], 100)}'); none is read here"
        return tuple(error.instance_path), f"is not valid in a JSON Schema (draft-07): {_describe(error)}"
    except (ValueError, RecursionError):
        return (), "is not a valid JSON Schema (draft-07)"
    return None


def build_payload_check(schema: dict[str, object]) -> PayloadCheck:
    """A callable that says in one sentence, with a JSON path, why a payload does not fit. The schema is valid.

    A recursive schema recurses in native code as deep as the payload is (20,000 levels end the process, measured):
    payloads come from `wire`, which refuses far shallower ones.
    """
    validator = jsonschema_rs.Draft7Validator(schema, retriever=_refuse_remote, mask=_MASK)
    is_valid, iter_errors = validator.is_valid, validator.iter_errors

    def check(payload: Payload) -> str | None:
        try:
            if is_valid(payload):
                return None
            error = next(iter_errors(payload))
        except (ValueError, StopIteration):  # the library's limits, for instance 255 levels below an `enum`
            return "the payload does not fit its schema, or cannot be checked against it"
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        return _cut(f"payload at ${path}: {error.message}", SENTENCE_LENGTH_MAX)

    return check


def _refuse_remote(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is not read")


def _describe(error: jsonschema_rs.ValidationError) -> str:
    if error.instance_path and error.instance_path[-1] == "type":
        return "a type is one of array, boolean, integer, null, number, object, string, or a list of them"
    return _cut(error.message, SENTENCE_LENGTH_MAX)


def _path_of_reference(schema: dict[str, object]) -> Path:
    """The first `$ref` that leaves the schema, as far as that can be told without resolving."""
    stack: list[tuple[Path, object]] = [((), schema)]
    while stack:
        path, item = stack.pop()
        reference = as_object(item).get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            return (*path, "$ref")
        stack.extend(((*path, part), child) for part, child in children_of(item))
    return ()


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
