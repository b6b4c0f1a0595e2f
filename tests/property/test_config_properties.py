"""Laws of the configuration: any document is a FlowMachine or a ConfigurationError, and nothing is lost on the way."""

import copy
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowmachine.config.build import build_machine, check_resource
from flowmachine.config.load import load_document, load_text
from flowmachine.config.resource import FlowMachine, dump_document
from flowmachine.errors import ConfigurationError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAGA_JSON: dict[str, Any] = json.loads((EXAMPLES / "flow-manager/saga.json").read_text())
RESOURCE = dump_document(load_text((EXAMPLES / "orders/flowmachine.yaml").read_bytes(), "x"), reveal_secrets=True)

NAMES = sorted(
    {
        *(
            "apiVersion",
            "kind",
            "metadata",
            "spec",
            "status",
            "machineDefinition",
            "communicationProtocols",
            "settings",
        ),
        *("persistencyManagement", "name", "machine", "channels", "persistence", "template", "scaling", "states", "id"),
        *("initialState", "businessStates", "businessEvents", "outgoingTransitions", "outputCommand", "sideEffects"),
        *(
            "kafka",
            "rest",
            "brokers",
            "tls",
            "sasl",
            "type",
            "configurations",
            "authenticationProperties",
            "ssl",
            "file",
        ),
        *("secretKeyRef", "hook", "payloadValidationSchema", "$ref", "headers", "isFinal", "inputEvent", "targetState"),
    }
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NAMES)
JSON_LIKE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=25,
)
PATHS = st.lists(st.integers(0, 30), min_size=1, max_size=9)


def judge(load: Callable[[], FlowMachine]) -> FlowMachine | None:
    """The resource, checked further; None for a refusal with proper problems."""
    resource = refusal = None
    try:
        resource = load()
    except ConfigurationError as error:
        refusal = error
    if resource is None:
        assert refusal is not None
        assert refusal.problems
        assert all(problem.code and problem.message and "pydantic" not in str(problem) for problem in refusal.problems)
        return None
    build_machine(resource)
    check_resource(resource)
    return resource


def mutate(document: Any, path: list[int], value: object, *, remove: bool) -> None:
    """Replace or remove the value that a walk by numbers ends at."""
    for number, step in enumerate(path, start=1):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = keys[step % len(keys)]
        if number == len(path) or not isinstance(document[key], dict | list):
            if remove:
                del document[key]
            else:
                document[key] = value
            return
        document = document[key]


@given(JSON_LIKE)
@example({"spec": {"channels": [{"kafka": {"brokers": {"secretKeyRef": 1}}}]}})
@example({"machineDefinition": None, "communicationProtocols": [None, {"type": {}}]})
@example({"apiVersion": None, "\x00": []})
def test_any_document_is_a_machine_or_a_configuration_error(document: object) -> None:
    judge(lambda: load_document(document, "x"))


@given(st.binary(max_size=60) | st.text(max_size=60) | st.text("[]{}:,-&*a!<|>'\" \n\t?#%@", max_size=40))
def test_any_text_is_a_machine_or_a_configuration_error(text: bytes | str) -> None:
    judge(lambda: load_text(text, "x"))


@given(st.sampled_from([RESOURCE, SAGA_JSON]), PATHS, JSON_LIKE, st.booleans())
def test_a_machine_with_one_wrong_value_never_breaks_the_loader(
    document: dict[str, Any], path: list[int], value: object, remove: bool
) -> None:
    mutated = copy.deepcopy(document)
    mutate(mutated, path, value, remove=remove)
    judge(lambda: load_document(mutated, "x"))


@given(st.sampled_from([RESOURCE, SAGA_JSON]), PATHS, SCALARS, st.booleans())
def test_a_resource_survives_the_way_to_a_document_and_back(
    document: dict[str, Any], path: list[int], value: object, remove: bool
) -> None:
    mutated = copy.deepcopy(document)
    mutate(mutated, path, value, remove=remove)
    resource = judge(lambda: load_document(mutated, "x"))
    if resource is not None:
        dumped = dump_document(resource, reveal_secrets=True)
        assert load_document(dumped, "x") == resource
        assert load_text(json.dumps(dumped), "x") == resource
        assert build_machine(load_document(dumped, "x")).revision == build_machine(resource).revision


@given(JSON_LIKE, st.text(min_size=9, max_size=20, alphabet="Q"))
def test_a_secret_is_never_shown(wrong: object, secret: str) -> None:
    document: Any = copy.deepcopy(RESOURCE)
    kafka = document["spec"]["channels"][0]["kafka"]
    kafka["sasl"] = {"mechanism": "plain", "username": {"file": secret, "value": wrong}, "password": secret}
    kafka["tls"] = {"key": [secret], "ca": secret, "enabled": wrong}
    with pytest.raises(ConfigurationError) as caught:
        load_document(document, "x")
    assert secret not in str(caught.value)
    assert secret not in "".join(traceback.format_exception(caught.value))
