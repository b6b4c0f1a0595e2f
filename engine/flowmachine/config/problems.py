"""pydantic's errors -> faults: short plain sentences that never show a value that may be secret.

Two things are read from an error besides its type: its location, from which the tags of unions are taken out, and the
type of what stood there. Suggestions for unknown fields come from the models' own JSON Schema.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from flowmachine.config.channels import TAG_BROKERS
from flowmachine.config.documents import Fault, Path, as_array, as_object
from flowmachine.config.fields import PATTERN_MESSAGES
from flowmachine.config.resource import FlowMachine
from flowmachine.config.secret_value import TAG_LITERAL

FAULTS_MAX: Final = 200
"""Nobody reads more at once, and each may cost a search for what was meant."""

_SUGGESTED_LENGTH_MAX: Final = 100
_TAG_MARK: Final = "\x00"
_KEY_MARK: Final = "[key]"

_WANTED: Final = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
}
_WANTED_AT_TAG: Final = {
    TAG_LITERAL: "must be a text, or say where the secret is: {secretKeyRef: {name, key}} or {file: path}",
    TAG_BROKERS: "must be a list of addresses 'host:port', one comma-separated text, or say where the secret is",
}


def describe_errors(error: ValidationError) -> Iterator[Fault]:
    """The faults that a validation found; cut off just above `FAULTS_MAX`."""
    details_of_all = (details for details in error.errors(include_url=False) if not _is_echo(details))
    for details in islice(details_of_all, FAULTS_MAX + 1):
        location = details["loc"]
        path = tuple(part for part in location if part != _KEY_MARK and not str(part).startswith(_TAG_MARK))
        if details["type"] == "extra_forbidden" and location[-1] not in path[-1:]:
            path = (*path, location[-1])  # somebody's field that looks like one of our marks
        code, message = _describe(details, path)
        yield Fault(path, code, message)


def suggest(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean 'paid'?` if one of the candidates is close to the name, else nothing."""
    if len(name) > _SUGGESTED_LENGTH_MAX:
        return ""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    close = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean '{by_folded[close[0]]}'?" if close else ""


def quote(value: object) -> str:
    """An id as a person recognises it: a text in quotes, a number without; cut when it is long."""
    if not isinstance(value, str):
        return str(value)
    return f"'{value}'" if len(value) <= _SUGGESTED_LENGTH_MAX else f"'{value[:_SUGGESTED_LENGTH_MAX]}...'"


def unknown_field(path: Path, candidates: Iterable[str]) -> Fault:
    """The last field of the path does not exist there."""
    name = str(path[-1])
    return Fault(path, "unknown-field", f"{quote(name)} is not a field here{suggest(name, candidates)}")


def not_one_of(value: object, allowed: list[str]) -> str:
    """The sentence for a value that is none of those that an enum allows."""
    listed = ", ".join(f"'{item}'" for item in allowed)
    wanted = f"must be one of {listed}" if len(allowed) > 1 else f"must be {listed}"
    if not isinstance(value, str):
        return wanted
    return f"{quote(value)} is not allowed here: {wanted}{suggest(value, allowed)}"


def _is_echo(details: ErrorDetails) -> bool:
    """Whether a list only seems too short, because pydantic does not count entries that have errors of their own."""
    return details["type"] == "too_short" and len(as_array(details["input"])) > 0


def _describe(details: ErrorDetails, path: Path) -> tuple[str, str]:
    kind, value = details["type"], details["input"]
    context = details.get("ctx", {})
    if kind == "missing":
        return "missing", "is required"
    if kind == "extra_forbidden":
        fault = unknown_field(path, _fields_at(path[:-1]))
        return fault.code, fault.message
    if kind in _WANTED:
        return "wrong-type", _WANTED_AT_TAG.get(str(details["loc"][-1])) or f"{_WANTED[kind]}, not {_name_type(value)}"
    if kind == "literal_error":
        return "not-allowed", not_one_of(value, re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    if kind == "business_id":
        return "wrong-type", details["msg"]
    if kind == "string_pattern_mismatch":
        return "wrong-form", PATTERN_MESSAGES.get(str(context.get("pattern")), "does not have the right form")
    return "out-of-range", _describe_range(kind, context, value)


def _describe_range(kind: str, context: dict[str, object], value: object) -> str:
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_too_long":
        return f"has {len(str(value))} characters; at most {context.get('max_length')} are allowed"
    if kind == "too_short":
        return "must not be empty"
    if kind == "too_long":
        return f"has {context.get('actual_length')} entries; at most {context.get('max_length')} are allowed"
    if kind == "greater_than_equal":
        return f"must be at least {context.get('ge')}"
    if kind == "less_than_equal":
        return f"must be at most {context.get('le')}"
    return "is not valid here"


def _name_type(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, dict):
        return "a mapping"
    return "nothing" if value is None else "a list"


def _fields_at(path: Path) -> set[str]:
    """The fields that the resource has at a path, from its JSON Schema."""
    schema = _schema()
    found: set[str] = set()
    nodes = [schema]
    for part in path:
        nodes = [child for node in _expand(nodes) for child in _children(node, part)]
    for node in _expand(nodes):
        found.update(as_object(node.get("properties")))
    return found


@cache
def _schema() -> dict[str, object]:
    return FlowMachine.model_json_schema()


def _expand(nodes: list[dict[str, object]]) -> list[dict[str, object]]:
    """The nodes with `$ref`, `anyOf` and `oneOf` followed."""
    definitions = as_object(_schema()["$defs"])
    expanded: list[dict[str, object]] = []
    stack = [*nodes]
    while stack:
        node = stack.pop()
        reference = node.get("$ref")
        if isinstance(reference, str):
            stack.append(as_object(definitions.get(reference.rpartition("/")[2])))
        stack.extend(as_object(option) for key in ("anyOf", "oneOf") for option in as_array(node.get(key)))
        expanded.append(node)
    return expanded


def _children(node: dict[str, object], part: str | int) -> list[dict[str, object]]:
    if isinstance(part, int):
        return [as_object(node["items"])] if "items" in node else []
    named = as_object(node.get("properties")).get(part)
    return [as_object(named)] if named is not None else [as_object(node.get("additionalProperties"))]
