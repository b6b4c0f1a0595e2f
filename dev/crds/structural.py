"""A model's JSON Schema -> a structural schema, as the API server wants it.

References are resolved, `null` is dropped, a number or a text is `int-or-string`, a text or an object (secrets,
brokers) is a node without a type that names its fields. Defaults are told in the descriptions and not set: the API
server would write them into stored objects, where they would stay when ours change, and GitOps tools would see a
difference.
"""

from typing import Final

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.fields import ID_LENGTH_MAX, INTEGER_MAX

Schema = dict[str, object]

_KEPT: Final = (
    "type",
    "enum",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)
_INT32_MAX: Final = 2**31 - 1


class Converter:
    """JSON Schema as pydantic writes it -> structural schema."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def convert(self, node: Schema) -> Schema:
        """One node of the models' schema, and all below it."""
        node = self._resolve(node)
        options = self._options(node)
        converted: Schema
        if not options:
            converted = self._convert_plain(node)
        elif {option.get("type") for option in options} == {"integer", "string"}:
            converted = {
                "x-kubernetes-int-or-string": True,
                "minLength": 1,
                "maxLength": ID_LENGTH_MAX,
                "minimum": -INTEGER_MAX,
                "maximum": INTEGER_MAX,
            }
        else:
            converted = self._convert_open(options)
        description = _describe(node)
        return {"description": description, **converted} if description else converted

    def _resolve(self, node: Schema) -> Schema:
        """The node with references and unions with `null` or with one option taken away; its own words win."""
        reference = node.get("$ref")
        if isinstance(reference, str):
            rest = {key: value for key, value in node.items() if key != "$ref"}
            return self._resolve({**as_object(self._definitions[reference.rpartition("/")[2]]), **rest})
        for union in ("anyOf", "oneOf"):
            options = [option for option in map(as_object, as_array(node.get(union))) if option.get("type") != "null"]
            if len(options) == 1:
                rest = {key: value for key, value in node.items() if key != union}
                return self._resolve({**self._resolve(options[0]), **rest})
        return node

    def _options(self, node: Schema) -> list[Schema]:
        found = [*as_array(node.get("anyOf")), *as_array(node.get("oneOf"))]
        return [self._resolve(as_object(option)) for option in found if as_object(option).get("type") != "null"]

    def _convert_plain(self, node: Schema) -> Schema:
        converted: Schema = {key: node[key] for key in _KEPT if key in node}
        if "const" in node:
            converted["enum"] = [node["const"]]
        if node.get("type") == "integer":
            largest = node.get("maximum")
            converted["format"] = "int32" if isinstance(largest, int) and largest <= _INT32_MAX else "int64"
        if "items" in node:
            converted["items"] = self.convert(as_object(node["items"]))
        if "properties" in node:
            converted["properties"] = {
                name: self.convert(as_object(child)) for name, child in as_object(node["properties"]).items()
            }
        elif node.get("type") == "object":
            converted.update(self._convert_mapping(node))
        return converted

    def _convert_mapping(self, node: Schema) -> Schema:
        values = [as_object(value) for value in as_object(node.get("patternProperties")).values()]
        if not values:
            return _OPEN
        return {"additionalProperties": self.convert(values[0])}

    def _convert_open(self, options: list[Schema]) -> Schema:
        """A text, perhaps a list, or one of several objects with one field each."""
        fields: Schema = {}
        for option in options:
            fields.update(as_object(self._convert_plain(option).get("properties")))
        return {
            **_OPEN,
            "maxProperties": 1,
            "properties": fields,
            "anyOf": [{"required": [name]} for name in fields],  # holds for whatever is not an object
        }


_OPEN: Final[Schema] = {"x-kubernetes-preserve-unknown-fields": True}


def _describe(node: Schema) -> str:
    text, default = str(node.get("description") or ""), node.get("default")
    if default is None or default in ("", [], {}):
        return text
    values = as_array(default) or [str(default).lower() if isinstance(default, bool) else default]
    # Marked as code: some begin with underscores or end with a full stop.
    listed = ", ".join(f"`{value}`" if isinstance(value, str) else str(value) for value in values)
    return f"{text} Default: {listed}."
