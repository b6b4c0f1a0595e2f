"""How an event's payload becomes part of a saga's metadata.

`merge_deep` is lodash's `mergeWith` over JSON values, exactly (`tests/conformance/test_lodash.py` compares it with
lodash itself). What is easily overlooked:

| old value                      | new value | result                                                                 |
|--------------------------------|-----------|------------------------------------------------------------------------|
| object                         | object    | merged key by key                                                      |
| array                          | array     | merged index by index; what the old one has more of stays              |
| array                          | object    | the array with the object's indexes and `length` applied              |
| object with a usable `length`  | array     | an array made of its keys `0`, `1`, ..., then merged                   |
| anything else                  | any       | the new value                                                          |

A key `__proto__` with an object or an array is left out; with anything else, a customizer is not told an old value.

Two things differ on purpose, because one message must not fill the memory: an array never becomes longer than
`ARRAY_LENGTH_MAX` by a key or a `length`; and such a key that lodash would fail on (`length: -1`) is left out.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, final

from flowmachine.core.definition import Customizer, Payload

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON values are whatever they are.

ARRAY_LENGTH_MAX: Final = 200_000
"""An array of so many nulls is 1 MB of JSON, which is more than a record may have by default."""

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_PROTOTYPE: Final = "__proto__"


@final
class Undefined:
    """JavaScript's `undefined`: no old value is there; or a customizer leaves the values to the usual rules."""


UNDEFINED: Final = Undefined()


def merge_shallow(metadata: Payload, payload: Payload) -> Payload:
    """First level only: a nested object is replaced whole (Flow Manager's default)."""
    return {**metadata, **payload}


def merge_deep(metadata: Payload, payload: Payload, customize: Customizer | None = None) -> Payload:
    """lodash `mergeWith`: `customize` is asked first, for every pair of values on every level."""
    merged = dict(metadata)
    for key, new in _entries(payload):
        old = merged.get(key, UNDEFINED)
        if key == _PROTOTYPE:
            if isinstance(new, dict | list):
                continue
            old = UNDEFINED
        merged[key] = _merge_item(old, new, customize)
    return merged


def _merge_value(old: Any, new: Any, customize: Customizer | None) -> Any:
    if isinstance(new, dict):
        if isinstance(old, list):
            return _merge_into_array(old, new, customize)
        return merge_deep(old if isinstance(old, dict) else {}, new, customize)
    if isinstance(new, list):
        return _merge_array(_as_array(old), new, customize)
    return new


def _merge_array(old: list[Any], new: list[Any], customize: Customizer | None) -> list[Any]:
    merged = list(old)
    for index, item in enumerate(new):
        if index < len(old):
            merged[index] = _merge_item(old[index], item, customize)
        else:
            merged.append(_merge_item(UNDEFINED, item, customize))
    return merged


def _merge_item(old: Any, new: Any, customize: Customizer | None) -> Any:
    if customize is None:
        return _merge_value(old, new, None)
    taken = customize(old, new)
    return _merge_value(old, new, customize) if taken is UNDEFINED else taken


def _merge_into_array(old: list[Any], new: Payload, customize: Customizer | None) -> list[Any]:
    """An array takes an object's indexes and its length; other names are nothing that JSON can keep in an array."""
    merged = list(old)
    for key, item in _entries(new):
        if key == "length":
            length = _as_length(_merge_item(len(merged), item, customize))
            if length is not None:
                merged = [*merged[:length], *[None] * (length - len(merged))]
        elif _INDEX.fullmatch(key) and int(key) < ARRAY_LENGTH_MAX:
            index = int(key)
            before = merged[index] if index < len(merged) else UNDEFINED
            merged += [None] * (index + 1 - len(merged))
            merged[index] = _merge_item(before, item, customize)
    return merged


def _as_array(old: Any) -> list[Any]:
    """What an array is merged onto: an array, or an object that looks like one (lodash `isArrayLikeObject`)."""
    if isinstance(old, list):
        return old
    if isinstance(old, dict):
        named: Payload = old
        length = named.get("length")
        whole = None if isinstance(length, bool) else _as_whole(length)
        return [named.get(str(index)) for index in range(whole or 0)]
    return []


def _as_length(value: Any) -> int | None:
    """The length that JavaScript makes of a JSON value that is assigned to an array's `length`; None: it fails."""
    if value is None or value == "":
        return 0
    if isinstance(value, str):
        return _as_whole(int(value)) if _INDEX.fullmatch(value) else None
    return _as_whole(value)


def _as_whole(value: Any) -> int | None:
    """A number that can be an array's length here, or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= ARRAY_LENGTH_MAX else None


def _entries(value: Payload) -> Iterator[tuple[str, Any]]:
    """In JavaScript's order, which an array's `length` makes matter: first what looks like an index, ascending."""
    if any(key[:1].isdigit() for key in value):
        indexes = sorted((int(key), key) for key in value if _INDEX.fullmatch(key))
        names = [key for key in value if not _INDEX.fullmatch(key)]
        ordered = [key for _, key in indexes] + names
        return ((key, value[key]) for key in ordered)
    return iter(value.items())
