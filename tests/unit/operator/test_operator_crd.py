"""The generated CRD: current, documented, and structural by Kubernetes' rules."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import yaml

from dev.crds.definitions import build_crd, build_schema
from dev.crds.generate import TARGET, main, render
from dev.crds.rules import LIMITS, LIST_MAPS, RULES, find
from flowmachine.config.resource import FlowMachine

SCHEMA = cast("Any", build_schema())
SPEC = SCHEMA["properties"]["spec"]
# Keywords that apiextensions v1 knows; what is not here (`$ref`, `patternProperties`, `const`, ...) it would refuse.
STRUCTURE = {"type", "description", "properties", "items", "additionalProperties", "nullable", "default"}
VALIDATION = {
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
}
EXTENSIONS = {
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
}
JUNCTORS = ("allOf", "anyOf", "oneOf")


def structural_faults(node: dict[str, Any], path: str) -> Iterator[str]:
    """What makes a node something else than a structural schema."""
    yield from (f"{path}: {word} is forbidden" for word in node.keys() - STRUCTURE - VALIDATION - EXTENSIONS)
    yield from (f"{path}: {fault}" for fault in shape_faults(node))
    for junctor in JUNCTORS:
        for option in node.get(junctor, ()):
            yield from junctor_faults(option, node, f"{path}.{junctor}")
    for name, child in children(node):
        yield from structural_faults(child, f"{path}.{name}")


def shape_faults(node: dict[str, Any]) -> Iterator[str]:
    is_open = node.get("x-kubernetes-preserve-unknown-fields") is True
    is_int_or_string = node.get("x-kubernetes-int-or-string") is True
    if "type" not in node and not is_open and not is_int_or_string:
        yield "has no type"
    if is_int_or_string and ("type" in node or is_open):
        yield "int-or-string stands alone"
    if "properties" in node and "additionalProperties" in node:
        yield "properties and additionalProperties exclude each other"
    if node.get("type") == "array" and "items" not in node:
        yield "an array needs items"
    if set(node.get("required", ())) - set(node.get("properties", ())):
        yield "requires a field that it does not have"
    if set(node.get("x-kubernetes-list-map-keys", ())) - set(node.get("items", {}).get("required", ())):
        yield "the key of a list must be required"


def junctor_faults(option: dict[str, Any], outer: dict[str, Any], path: str) -> Iterator[str]:
    yield from (f"{path}: {word} is forbidden inside" for word in option.keys() - VALIDATION - {"properties", "items"})
    missing = (set(option.get("properties", ())) | set(option.get("required", ()))) - set(outer.get("properties", ()))
    yield from (f"{path}: {name} does not stand outside, too" for name in missing)


def children(node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from node.get("properties", {}).items()
    for word in ("items", "additionalProperties"):
        if word in node:
            yield word, node[word]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in children(node):
        yield from nodes(child, f"{path}.{name}")


def test_file_is_current() -> None:
    assert TARGET.read_text("utf-8") == render(), "run `python -m dev.crds`"
    assert main(["--check"]) == 0


def test_file_holds_the_crd() -> None:
    assert yaml.safe_load(TARGET.read_text("utf-8")) == build_crd()


def test_schema_is_structural() -> None:
    assert list(structural_faults(SCHEMA, "")) == []


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"type": "object", "$ref": "#/x"},
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        {"type": "object", "anyOf": [{"type": "object"}]},
        {"type": "object", "anyOf": [{"properties": {"a": {}}}]},
        {"type": "string", "anyOf": [{"default": "x"}]},
        {"type": "integer", "x-kubernetes-int-or-string": True},
    ],
)
def test_checker_finds_what_is_not_structural(broken: dict[str, Any]) -> None:
    assert list(structural_faults(broken, ""))


def test_every_field_has_a_description() -> None:
    silent = [
        f"{path}.{name}"
        for path, node in nodes(SCHEMA)
        for name, child in node.get("properties", {}).items()
        if not child.get("description")
    ]

    assert silent == [".metadata"], "which the API server describes itself and lets nobody else"


def test_no_default_is_set() -> None:
    """The API server would write it into stored objects."""
    assert [path for path, node in nodes(SCHEMA) if "default" in node] == []
    assert find(SPEC, "settings.retention.finished")["description"].endswith("Default: `1h`.")
    assert find(SPEC, "settings.alignPartitioners")["description"].endswith("Default: `java`, `kafkajs-legacy`.")
    assert find(SPEC, "settings.internalTopics.create")["description"].endswith("Default: `true`.")


def test_every_field_of_the_models_is_there() -> None:
    """Fields are counted over the models' JSON Schema, references followed."""
    document = FlowMachine.model_json_schema()

    def fields_of(node: dict[str, Any]) -> set[str]:
        if "$ref" in node:
            node = document["$defs"][node["$ref"].rpartition("/")[2]]
        found = set(node.get("properties", ()))
        for child in [
            *node.get("properties", {}).values(),
            *node.get("anyOf", ()),
            *node.get("oneOf", ()),
            *node.get("patternProperties", {}).values(),
            *([node["items"]] if "items" in node else ()),
        ]:
            found |= fields_of(child)
        return found

    in_crd = {name for _, node in nodes(SPEC) for name in node.get("properties", ())}
    assert in_crd == fields_of(document["$defs"]["FlowMachineSpec"])


def test_free_fields_are_kept() -> None:
    for path in (
        "template",
        "persistence.configurations",
        "machine.states[].outgoingTransitions[].payloadValidationSchema",
    ):
        node = find(SPEC, path)
        assert (node["type"], node["x-kubernetes-preserve-unknown-fields"]) == ("object", True)


def test_values_with_several_forms() -> None:
    business = find(SPEC, "machine.states[].businessStateId")
    assert business["x-kubernetes-int-or-string"] is True
    assert business["maxLength"] == 63
    for path in ("channels[].kafka.brokers", "channels[].kafka.sasl.password", "channels[].rest.tls.ca"):
        assert set(cast("Any", find(SPEC, path)["properties"])) == {"secretKeyRef", "file"}
    assert set(cast("Any", find(SPEC, "channels[].rest.headers"))["additionalProperties"]["properties"]) == {
        "secretKeyRef",
        "file",
    }


def test_limits_unique_ids_and_rules_are_where_they_belong() -> None:
    assert {path: find(SPEC, path)["maxItems"] for path in LIMITS} == LIMITS
    assert {path: find(SPEC, path)["x-kubernetes-list-map-keys"] for path in LIST_MAPS} == {
        path: [key] for path, key in LIST_MAPS.items()
    }
    assert {path: find(SPEC, path)["x-kubernetes-validations"] for path in RULES} == RULES


def test_texts_that_rules_compare_are_bounded() -> None:
    """Else the API server counts them as 3 MB each, and refuses the CRD for its cost."""
    for path in (
        "channels[].id",
        "machine.states[].id",
        "machine.initialState",
        "machine.states[].outgoingTransitions[].targetState",
        "machine.businessStates[].id",
        "machine.businessEvents[].id",
    ):
        assert find(SPEC, path)["maxLength"] == 63


def test_names_columns_and_subresources() -> None:
    spec = cast("Any", build_crd()["spec"])
    (version,) = spec["versions"]

    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == (["fm"], ["all"])
    shown = [column["name"] for column in version["additionalPrinterColumns"] if column["priority"] == 0]
    assert shown == ["State", "Ready", "Desired", "Partitions", "Active", "Age"]
    assert version["subresources"]["status"] == {}
    for path in version["subresources"]["scale"].values():
        part = SCHEMA
        for name in path.split(".")[1:]:
            part = part["properties"][name]
        assert part["type"] in {"integer", "string"}
