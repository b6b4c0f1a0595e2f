"""How an event's payload becomes part of a saga's metadata."""

from typing import Any

from flowmachine.core.definition import Payload

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON values are whatever they are.


def merge_shallow(metadata: Payload, payload: Payload) -> Payload:
    """First level only: a nested object is replaced whole (Flow Manager's default)."""
    return {**metadata, **payload}


def merge_deep(metadata: Payload, payload: Payload) -> Payload:
    """lodash `merge` over JSON values: objects merge key by key, arrays index by index, anything else is replaced."""
    return {**metadata, **{key: _merge_value(metadata.get(key), value) for key, value in payload.items()}}


def _merge_value(old: Any, new: Any) -> Any:
    if isinstance(new, dict):
        return merge_deep(old, new) if isinstance(old, dict) else new
    if isinstance(new, list) and isinstance(old, list):
        merged = [_merge_value(before, after) for before, after in zip(old, new, strict=False)]
        return merged + old[len(new) :] + new[len(old) :]
    return new
