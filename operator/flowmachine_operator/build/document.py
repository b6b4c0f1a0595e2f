"""The FlowMachine as the engines read it: what they need and no literal secret.

A literal in a FlowMachine is its author's choice, but it goes no further than into a Secret (guarantee G6): here it
becomes a key of one that the operator makes, and a `secretKeyRef` stands in its place. In the free fields of a store
every text counts as a literal, because any of them may be a password or hold one.

Left out: annotations (kubectl keeps the whole object in one of them), labels, `scaling`, `template` and
`deletionPolicy`, which no engine reads; so changing these does not start engines anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from pydantic import BaseModel, SecretStr

from flowmachine.config.documents import Path, as_object, is_array, is_object
from flowmachine.config.resource import dump_document
from flowmachine.config.secret_value import SecretKeyRef
from flowmachine_operator.build.identity import child_name, data_key
from flowmachine_operator.build.subject import Manifest, Subject

_CONFIGURATIONS: Path = ("spec", "persistence", "configurations")
_Found = str | tuple[str, str]
"""A literal, or the Secret and the key that hold a value."""

_REFERENCES = ({"secretKeyRef"}, {"file"})


@dataclass(frozen=True, slots=True)
class EngineDocument:
    """What engines are given."""

    document: Manifest
    literals: dict[str, str] = field(repr=False)
    """The content of the Secret that the operator makes."""
    mounted: frozenset[tuple[str, str]]
    """(Secret, key) of every value that is mounted, the operator's own Secret included."""

    @property
    def secret_names(self) -> frozenset[str]:
        """Names of these Secrets, the operator's own included."""
        return frozenset(name for name, _ in self.mounted)


def literals_name(subject: Subject) -> str:
    """Name of the Secret for the literals. Not made from its content: a hash would tell a short password."""
    return child_name(subject, "literals")


def build_document(subject: Subject) -> EngineDocument:
    """The document for the engines, with the literals that were taken out of it and the keys that it refers to."""
    resource = subject.resource
    document = dump_document(resource, reveal_secrets=True)
    document["metadata"] = {"name": subject.name, "namespace": subject.namespace}
    spec = as_object(document["spec"])
    for unread in ("deletionPolicy", "scaling", "template"):
        spec.pop(unread, None)
    found = [
        *_find_in_models(resource.spec, ("spec",)),
        *_find_in_texts(resource.spec.persistence.configurations, _CONFIGURATIONS),
    ]
    secret, literals, mounted = literals_name(subject), dict[str, str](), set[tuple[str, str]]()
    for path, value in found:
        if not isinstance(value, str):
            mounted.add(value)
            continue
        key = data_key(".".join(map(str, path[1:])))
        literals[key] = value
        mounted.add((secret, key))
        _replace(document, path, {"secretKeyRef": {"name": secret, "key": key}})
    return EngineDocument(document, literals, frozenset(mounted))


def _find_in_models(value: object, path: Path) -> Iterator[tuple[Path, _Found]]:
    """Literal secrets and references in the typed fields."""
    if isinstance(value, SecretStr):
        yield path, value.get_secret_value()
    elif isinstance(value, SecretKeyRef):
        yield path, (value.secret_key_ref.name, value.secret_key_ref.key)
    elif isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            alias = info.alias or name
            if alias != "template" and (*path, alias) != _CONFIGURATIONS:
                yield from _find_in_models(getattr(value, name), (*path, alias))
    else:
        for part, item in _items(value):
            yield from _find_in_models(item, (*path, part))


def _find_in_texts(value: object, path: Path) -> Iterator[tuple[Path, _Found]]:
    """Texts and references in free fields."""
    if isinstance(value, str):
        yield path, value
    elif is_object(value) and set(value) in _REFERENCES:
        reference = as_object(value.get("secretKeyRef"))
        name, key = reference.get("name"), reference.get("key")
        if isinstance(name, str) and isinstance(key, str):
            yield path, (name, key)
    else:
        for part, item in _items(value):
            yield from _find_in_texts(item, (*path, part))


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    if is_object(value):
        yield from value.items()
    elif is_array(value):
        yield from enumerate(value)
    elif isinstance(value, tuple):
        yield from enumerate(cast("tuple[object, ...]", value))


def _replace(document: object, path: Path, value: object) -> None:
    *parents, last = path
    for part in parents:
        document = dict(_items(document))[part]
    assert is_object(document), "literals are fields of objects in the models, never entries of a list"
    document[str(last)] = value
