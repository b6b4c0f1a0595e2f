"""A decoded document: JSON values only, with what was wrong in its text, and paths into it.

A path is a tuple of field names and indexes; `format_path` writes it as `spec.machine.states[3].id`. A `Fault` is a
problem whose path is not written yet: a converted document's faults are first moved to the paths of the original.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final, TypeGuard, final

import msgspec

from flowmachine.errors import ConfigurationError

Path = tuple[str | int, ...]

SIZE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A machine of 1000 states with 64 transitions each fits; etcd refuses objects above 1.5 MiB anyway."""

DEPTH_MAX: Final = 100
"""Deeper than any machine or payload schema that a person writes; far below what recursion can take."""

NODES_MAX: Final = 1_000_000
"""Values in one file, aliases expanded: more than 4 MiB of honest text holds, far fewer than an alias bomb."""

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_$@-]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@final
class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong at `path`."""

    path: Path
    code: str
    message: str


@final
class Document(msgspec.Struct, frozen=True):
    """One document of a file, and what its text says twice or in a form that JSON does not have."""

    value: object
    faults: tuple[Fault, ...] = ()


def format_path(path: Path) -> str:
    """The path as a person writes it."""
    text = ""
    for part in path:
        if not isinstance(part, str):
            text += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether the value is a JSON object. Keys that are not texts are `check_document`'s to find."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Whether the value is a JSON array."""
    return isinstance(value, list)


def as_object(value: object) -> dict[str, object]:
    """The value if it is an object, else an empty one."""
    return value if is_object(value) else {}


def as_array(value: object) -> list[object]:
    """The value if it is an array, else an empty one."""
    return value if is_array(value) else []


def children_of(value: object) -> Iterable[tuple[str | int, object]]:
    """The values that an object or an array holds, with their names or indexes."""
    return value.items() if is_object(value) else enumerate(as_array(value))


def check_document(value: object, *, source_name: str) -> list[Fault]:
    """What in a decoded value is not plain JSON. Raises ConfigurationError if it is too deep or has too many values."""
    faults: list[Fault] = []
    for count, (link, item) in enumerate(_walk(value)):
        if count >= NODES_MAX:
            raise too_large(source_name)
        if link.depth > DEPTH_MAX:
            raise too_deep(source_name)
        message = _misfit(item)
        if message is not None:
            faults.append(Fault(link.path(), "not-json", message))
    return faults


def repeated_key(path: Path, *, line: int | None = None) -> Fault:
    """The last field of `path` stands more than once in its object."""
    where = "" if line is None else f", again in line {line}"
    return Fault(path, "duplicate-key", f"'{path[-1]}' stands here more than once{where}")


def too_deep(source_name: str) -> ConfigurationError:
    """The file nests deeper than `DEPTH_MAX`."""
    return ConfigurationError.of(source_name, "too-deep", f"nests deeper than {DEPTH_MAX} levels")


def too_large(source_name: str) -> ConfigurationError:
    """The file holds more values than `NODES_MAX`."""
    message = f"holds more than {NODES_MAX} values (aliases count as often as they are used)"
    return ConfigurationError.of(source_name, "too-large", message)


@final
class _Link(msgspec.Struct, frozen=True):
    """Where a value stands: its part of the path, and the link of the collection that holds it."""

    parent: "_Link | None"
    part: str | int
    depth: int

    def path(self) -> Path:
        parts: list[str | int] = []
        link = self
        while link.parent is not None:
            parts.append(link.part)
            link = link.parent
        return tuple(reversed(parts))


@final
class _KeyNotText:
    """Stands for a key that is not a text."""


def _walk(value: object) -> Iterator[tuple[_Link, object]]:
    stack: list[tuple[_Link, object]] = [(_Link(None, "", 0), value)]
    while stack:
        link, item = stack.pop()
        yield link, item
        for part, child in children_of(item):
            if not is_array(item):
                yield link, part if isinstance(part, str) else _KeyNotText()
            stack.append((_Link(link, part if isinstance(part, int) else str(part), link.depth + 1), child))


def _misfit(item: object) -> str | None:
    if item is None or isinstance(item, bool | dict | list):
        return None
    if isinstance(item, str):
        is_text = item.isascii() or _SURROGATE.search(item) is None
        return None if is_text else "holds half of a character (a lone surrogate)"
    if isinstance(item, int):
        return None if abs(item) < 10**300 else "is a number out of range"
    if isinstance(item, float):
        return None if math.isfinite(item) else "is a number out of range"
    return "has a key that is not a text" if isinstance(item, _KeyNotText) else "is not a JSON value"
