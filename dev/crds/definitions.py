"""The CustomResourceDefinitions of FlowMachine and Saga, as documents.

Limits, list maps and CEL rules are added to the schema by path. A rule binds the list of declared ids once: the API
server estimates its cost from `maxItems` and `maxLength`, and refuses the CRD when that is too high. Status, scale and
printer columns come around it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from dev.crds.rules import LIMITS, LIST_MAPS, ROOT_RULES, RULES, find
from dev.crds.saga import SAGA_KIND, SAGA_PLURAL, SAGA_PRINTER_COLUMNS, SAGA_SCHEMA
from dev.crds.status import PRINTER_COLUMNS, STATUS
from dev.crds.structural import Converter, Schema
from flowmachine.config.documents import as_object
from flowmachine.config.resource import API_VERSION, KIND, FlowMachine

GROUP, VERSION = API_VERSION.split("/")
PLURAL: Final = "flowmachines"


def build_crd() -> Schema:
    """The CustomResourceDefinition of a FlowMachine."""
    scale = {
        "specReplicasPath": ".spec.scaling.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    more_names = {"shortNames": ["fm"], "categories": ["all"]}
    return _build(KIND, PLURAL, more_names, PRINTER_COLUMNS, {"status": {}, "scale": scale}, build_schema())


def build_saga_crd() -> Schema:
    """The CustomResourceDefinition of the objects that the store `kubernetes` writes."""
    return _build(SAGA_KIND, SAGA_PLURAL, {"shortNames": ["sg"]}, SAGA_PRINTER_COLUMNS, {"status": {}}, SAGA_SCHEMA)


def _build(
    kind: str,
    plural: str,
    more_names: Mapping[str, object],
    columns: Sequence[object],
    subresources: Schema,
    schema: Mapping[str, object],
) -> Schema:
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), **more_names}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "subresources": subresources,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def build_schema() -> Schema:
    """The structural schema of a FlowMachine, with its rules."""
    document = FlowMachine.model_json_schema()
    spec = Converter(as_object(document["$defs"])).convert(as_object(as_object(document["properties"])["spec"]))
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
