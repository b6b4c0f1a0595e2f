"""The models -> crds/, its copy in the chart, docs/reference.md: `python -m dev.crds` writes, `--check` compares.

1. The models' JSON Schema becomes structural, as the API server wants it: references resolved, `null` dropped, a number
   or a text is `int-or-string`, a text or an object (secrets, brokers) is a node without a type that names its fields.
2. Limits, list maps and CEL rules are added by path. A rule binds the list of declared ids once: the API server
   estimates its cost from `maxItems` and `maxLength`, and refuses the CRD when that is too high.
3. Status, scale and printer columns come around it.

Defaults are told in the descriptions and not set: the API server would write them into stored objects, where they
would stay when ours change, and GitOps tools would see a difference.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from dev.crd_rules import LIMITS, LIST_MAPS, ROOT_RULES, RULES, find
from dev.crd_saga import SAGA_KIND, SAGA_PLURAL, SAGA_PRINTER_COLUMNS, SAGA_SCHEMA
from dev.crd_status import PRINTER_COLUMNS, STATUS
from dev.reference import render_reference
from flowmachine.config.documents import as_array, as_object
from flowmachine.config.fields import ID_LENGTH_MAX, INTEGER_MAX
from flowmachine.config.resource import API_VERSION, KIND, FlowMachine

GROUP, VERSION = API_VERSION.split("/")
PLURAL: Final = "flowmachines"
_ROOT: Final = Path(__file__).resolve().parents[1]
TARGET: Final = _ROOT / "crds" / f"{PLURAL}.{GROUP}.yaml"
REFERENCE_TARGET: Final = _ROOT / "docs/reference.md"
SAGA_TARGET: Final = _ROOT / "crds" / f"{SAGA_PLURAL}.{GROUP}.yaml"
CHART_FOLDER: Final = _ROOT / "helm/flowmachine/files/crds"
"""Has a copy of each file: a chart cannot read outside of its folder."""
HEADER: Final = "# Generated from engine/flowmachine/config by `python -m dev.crds`. Do not edit.\n"
SAGA_HEADER: Final = "# Generated from dev/crd_saga.py by `python -m dev.crds`. Do not edit.\n"

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


def build_crd() -> Schema:
    """The CustomResourceDefinition."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": KIND.lower(),
        "shortNames": ["fm"],
        "categories": ["all"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": PRINTER_COLUMNS,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.scaling.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": build_schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def build_saga_crd() -> Schema:
    """The CustomResourceDefinition of the objects that the store `kubernetes` writes."""
    names = {
        "kind": SAGA_KIND,
        "listKind": f"{SAGA_KIND}List",
        "plural": SAGA_PLURAL,
        "singular": SAGA_KIND.lower(),
        "shortNames": ["sg"],
    }
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": SAGA_PRINTER_COLUMNS,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": SAGA_SCHEMA},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{SAGA_PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def build_schema() -> Schema:
    """The structural schema of a FlowMachine, with its rules."""
    document = FlowMachine.model_json_schema()
    spec = _Converter(as_object(document["$defs"])).convert(as_object(as_object(document["properties"])["spec"]))
    for path, limit in LIMITS.items():
        find(spec, path)["maxItems"] = limit
    for path, key in LIST_MAPS.items():
        find(spec, path).update({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]})
    for path, rules in RULES.items():
        find(spec, path)["x-kubernetes-validations"] = rules
    return {
        "type": "object",
        "description": f"{document['description']} `kubectl explain fm.spec --recursive` lists all fields.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of this form: `{API_VERSION}`."},
            "kind": {"type": "string", "description": f"Always `{KIND}`."},
            "metadata": {"type": "object"},  # described by the API server; a word of ours would be refused
            "spec": spec,
            "status": STATUS,
        },
        "x-kubernetes-validations": ROOT_RULES,
    }


def render(crd: Schema | None = None) -> str:
    """A file's content; by default that of the FlowMachine."""
    header = HEADER if crd is None else SAGA_HEADER

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:  # an alias would be unreadable
            return True

    return header + yaml.dump(crd or build_crd(), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Converter:
    """JSON Schema as pydantic writes it -> structural schema."""

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions

    def convert(self, node: Schema) -> Schema:
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


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; the exit code says whether they are current."""
    parser = argparse.ArgumentParser(prog="python -m dev.crds", description="Generate crds/ from the pydantic models.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if they are not current")
    files = {TARGET: render(), SAGA_TARGET: render(build_saga_crd())}
    files |= {CHART_FOLDER / target.name: text for target, text in files.items()}
    files[REFERENCE_TARGET] = render_reference(build_schema())
    if not parser.parse_args(arguments).check:
        for target, text in files.items():
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, "utf-8")
        return 0
    old = [target.name for target, text in files.items() if not target.is_file() or target.read_text("utf-8") != text]
    if not old:
        return 0
    print(f"Not current: {', '.join(old)}. Run `python -m dev.crds`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
