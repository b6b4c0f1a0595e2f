"""The CRD's schema -> docs/reference.md: every field of a FlowMachine. Written and compared by `python -m dev.crds`.

One table for each object of the resource, named by its path. A value that may be secret is one row, however often it
occurs: its two other forms are said once, at the top.
"""

from collections.abc import Iterator
from typing import Final

from flowmachine.config.documents import as_array, as_object

Schema = dict[str, object]

_HEAD: Final = """\
<!-- Generated from engine/flowmachine/config by `make generate`. Do not edit. -->
# Fields of a FlowMachine

`kubectl explain fm.spec.machine.states` says the same in a terminal. A commented example is
[flowmachine.yaml](../examples/orders/flowmachine.yaml); [conditions](conditions.md) explains `status.conditions`.

**Bold** fields are required. *Secret or text*: the value itself, or `{secretKeyRef: {name: ..., key: ...}}`, a key of a
Secret in the FlowMachine's namespace, or `{file: ...}`, a path in the engine's file system. When one changes (a
password, a token, a certificate with its key), engines use the new one within seconds. Those of a store and the
addresses of brokers they read when they start: the operator replaces the engines of a machine whose Secrets change;
elsewhere, start them again.
"""


def render_reference(schema: Schema) -> str:
    """The page; the same schema gives the same text."""
    return "\n".join([_HEAD, *_render_object("", schema)])


def _render_object(path: str, node: Schema) -> Iterator[str]:
    properties = {name: as_object(child) for name, child in as_object(node.get("properties")).items()}
    required = set(map(str, as_array(node.get("required"))))
    if path:
        yield f"## {path}\n"
        yield f"{node['description']}\n"
        yield "| field | type | |\n|---|---|---|"
        for name, child in properties.items():
            field = f"**`{name}`**" if name in required else f"`{name}`"
            yield f"| {field} | {_describe_type(child)} | {_describe(child)} |"
        yield from _render_rules(node)
        yield ""
    for name, child in properties.items():
        inner, mark = _inner(child)
        if "properties" in inner and not _is_secret(inner):
            yield from _render_object(f"{path}.{name}{mark}".removeprefix("."), {"description": "", **child, **inner})


def _render_rules(node: Schema) -> Iterator[str]:
    rules = [str(as_object(rule)["message"]) for rule in as_array(node.get("x-kubernetes-validations"))]
    if rules:
        yield "\nChecked when it is applied:\n"
        yield from (f"- {rule}" for rule in rules)


def _inner(node: Schema) -> tuple[Schema, str]:
    if node.get("type") == "array":
        return as_object(node["items"]), "[]"
    return node, ""


def _is_secret(node: Schema) -> bool:
    return "secretKeyRef" in as_object(node.get("properties"))


def _describe_type(node: Schema) -> str:
    if _is_secret(node):
        return "secret or text"
    if node.get("x-kubernetes-int-or-string"):
        return "number or text"
    kind = str(node.get("type", "any"))
    if kind == "array":
        return f"list of {_describe_type(as_object(node['items']))}"
    values = as_object(node.get("additionalProperties"))
    if values:
        return f"map of {_describe_type(values)}"
    return {"string": "text", "integer": "number", "boolean": "true or false"}.get(kind, kind)


def _describe(node: Schema) -> str:
    parts = [str(node.get("description", "")).replace("|", "\\|").replace("\n", " ")]
    allowed = as_array(node.get("enum"))
    if allowed:
        parts.append(f"One of {', '.join(f'`{value}`' for value in allowed)}.")
    parts.extend(_describe_limits(node))
    return " ".join(part for part in parts if part)


def _describe_limits(node: Schema) -> Iterator[str]:
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None and most is not None and not node.get("x-kubernetes-int-or-string"):
        yield f"{least} to {most}."
    for name, unit in (("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")):
        if name in node and not node.get("x-kubernetes-int-or-string") and not _is_secret(node):
            yield f"At most {node[name]} {unit}."
