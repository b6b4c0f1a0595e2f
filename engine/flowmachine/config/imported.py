"""A Flow Manager configuration as a FlowMachine to apply: no secret stands in it, and it says which Secret it expects.

1. Every value that Flow Manager reads from a file, or that may be secret (credentials, keys, connection strings,
   headers), becomes a `secretKeyRef` to one Secret, `{name}-flow-manager`; a key's name tells where the value belongs.
2. Headers that say nothing secret (`Content-Type`, `Accept`, ...) and brokers written as a list stay as they are.
3. All else is kept as it is written, so the machine's revision is that of the configuration itself.
"""

import re
from collections.abc import Iterator
from typing import Final, final

import msgspec

from flowmachine.config.documents import Path, as_array, as_object, is_object
from flowmachine.config.resource import FlowMachine, dump_document

_HARMLESS_HEADERS: Final = frozenset({"accept", "accept-encoding", "accept-language", "content-type", "user-agent"})
_SECRET_FIELDS: Final = frozenset({"connectionUri", "username", "password", "ca", "cert", "key", "passphrase"})
_NO_KEY: Final = re.compile(r"[^-._a-zA-Z0-9]+")


@final
class ExpectedKey(msgspec.Struct, frozen=True):
    """A key of the Secret. `file` is where Flow Manager reads its value; None: the value stands in the saga.json."""

    key: str
    path: str
    """Where the value belongs, in the FlowMachine."""
    file: str | None


@final
class Imported(msgspec.Struct, frozen=True):
    """The document to apply, and what has to be there for it."""

    document: dict[str, object]
    secret: str
    keys: tuple[ExpectedKey, ...]


def import_resource(resource: FlowMachine, *, namespace: str | None) -> Imported:
    """The resource with a reference in place of each value that may be secret."""
    document = dump_document(resource, reveal_secrets=True)
    metadata = as_object(document["metadata"])
    if namespace is not None:
        metadata["namespace"] = namespace
    secret = f"{resource.metadata.name}-flow-manager"
    keys: list[ExpectedKey] = []
    spec = as_object(document["spec"])
    for channel in as_array(spec.get("channels")):
        where = f"spec.channels[{as_object(channel).get('id')}]"
        _replace(as_object(channel), (str(as_object(channel).get("id")),), where, secret, keys)
    persistence = as_object(spec.get("persistence"))
    _replace(persistence, ("persistence",), "spec.persistence", secret, keys)
    return Imported(document, secret, tuple(keys))


def _replace(value: dict[str, object], path: Path, where: str, secret: str, keys: list[ExpectedKey]) -> None:
    """Put references into an object, on all levels."""
    for name, item in value.items():
        at = (*path, name)
        if _is_secret(path, name, item):
            key = _unused("-".join(_NO_KEY.sub("-", str(part)) for part in at if part != "configurations"), keys)
            file = as_object(item).get("file")
            keys.append(ExpectedKey(key, f"{where}.{name}", str(file) if file is not None else None))
            value[name] = {"secretKeyRef": {"name": secret, "key": key}}
        elif is_object(item):
            _replace(item, at, f"{where}.{name}", secret, keys)


def _is_secret(path: Path, name: str, value: object) -> bool:
    if is_object(value):
        return value.keys() == {"file"}
    if not isinstance(value, str):
        return False
    if path[-1] == "headers":
        return name.lower() not in _HARMLESS_HEADERS
    return name in _SECRET_FIELDS


def _unused(key: str, keys: list[ExpectedKey]) -> str:
    taken = {each.key for each in keys}
    candidates: Iterator[str] = (f"{key}-{number}" for number in range(2, len(taken) + 3))
    return key if key not in taken else next(each for each in candidates if each not in taken)
