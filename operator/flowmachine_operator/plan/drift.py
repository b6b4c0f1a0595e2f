"""Whether a child is as it is wanted. What others have added to it is theirs and does not count.

The API server may write a value in another way than it was sent ("1000m" as "1"). So a child is in step when the fields
that we want have the wanted values, or have what they had right after they were last applied.
"""

from collections.abc import Sequence
from typing import Final

from flowmachine.config.documents import as_object, is_array, is_object

_KEYS: Final = ("uid", "name", "mountPath", "containerPort", "topologyKey", "ip", "type")
"""By which of these the entries of a list are told apart: the first that all have, each another."""


def project(live: object, wanted: object) -> object:
    """What stands in `live` where `wanted` says something: equal to `wanted` if all of it is as wanted."""
    if is_object(wanted) and is_object(live):
        return {name: project(live[name], value) for name, value in wanted.items() if name in live}
    if is_array(wanted) and is_array(live):
        return _project_list(live, wanted)
    return live


def _project_list(live: list[object], wanted: list[object]) -> list[object]:
    key = _find_key(wanted)
    if key is not None:
        found = {str(as_object(item).get(key)): item for item in live}
        names = [str(as_object(item).get(key)) for item in wanted]
        return [project(found[name], item) for name, item in zip(names, wanted, strict=True) if name in found]
    if len(live) != len(wanted):
        return live
    return [project(there, item) for there, item in zip(live, wanted, strict=True)]


def _find_key(items: Sequence[object]) -> str | None:
    for key in _KEYS:
        values = [as_object(item).get(key) for item in items]
        if items and None not in values and len(set(map(str, values))) == len(values):
            return key
    return None
