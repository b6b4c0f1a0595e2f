"""Documents and files that are no FlowMachine at all: their problems, too, are told with their place."""

import pytest

from flowmachine.config.documents import SIZE_BYTES_MAX
from flowmachine.config.load import load_text
from flowmachine.errors import ConfigurationError
from tests.unit.config.good_document import changed, problems_of, put


@pytest.mark.parametrize(
    "document", [None, 5, "x", [], {}, {"a": 1}, {"apiVersion": 1}, {"kind": "FlowMachine", "spec": 3}]
)
def test_documents_that_are_no_machine(document: object) -> None:
    assert problems_of(document)


@pytest.mark.parametrize("key", [5, (1, 2), None, b"x"])
def test_a_document_with_keys_that_are_not_texts_is_a_problem(key: object) -> None:
    assert ("spec.machine", "has a key that is not a text") in problems_of(changed(put("spec.machine", {key: 5})))
    brokers = {key: 1, "file": "x"}
    assert problems_of(changed(put("spec.channels.0.kafka.brokers", brokers)))


def test_values_that_json_does_not_have_are_problems() -> None:
    assert ("spec.template", "is not a JSON value") in problems_of(changed(put("spec.template", {1, 2})))
    assert ("spec.template.a", "is a number out of range") in problems_of(
        changed(put("spec.template", {"a": float("nan")}))
    )


def test_a_document_that_holds_itself_is_refused() -> None:
    document = changed()
    document["spec"]["template"] = {"again": document}
    assert problems_of(document) == [("orders.yaml", "nests deeper than 100 levels")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "orders.yaml: is empty; a FlowMachine is expected"),
        ("- 1", "orders.yaml: must be a mapping of fields: a FlowMachine"),
        (
            "a: 1\n---\nb: 2",
            "orders.yaml: holds 2 documents, and none of them is a FlowMachine; exactly one is expected",
        ),
        (
            "kind: FlowMachine\n---\nkind: FlowMachine",
            "orders.yaml: holds 2 documents, and 2 of them are FlowMachines; exactly one is expected",
        ),
    ],
)
def test_files_without_exactly_one_machine(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "orders.yaml")
    assert str(caught.value) == problem


def test_a_file_beyond_the_size_limit_is_one_problem() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text(b" " * (SIZE_BYTES_MAX + 1), "orders.yaml")
    assert [problem.code for problem in caught.value.problems] == ["too-large"]


def test_repeated_keys_are_reported_with_the_other_problems() -> None:
    text = "kind: FlowMachine\nkind: FlowMachine\nmetadata: {name: x}\nspec: {}\n"
    with pytest.raises(ConfigurationError) as caught:
        load_text(text, "orders.yaml")
    assert [problem.path for problem in caught.value.problems] == [
        "apiVersion",
        "kind",
        "spec.channels",
        "spec.machine",
    ]
