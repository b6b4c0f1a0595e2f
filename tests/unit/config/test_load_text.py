"""What text may be, and what happens to text that is none of it."""

import json

import pytest

from flowmachine.config.documents import DEPTH_MAX, SIZE_BYTES_MAX, format_path
from flowmachine.config.text import parse_documents
from flowmachine.config.yaml_text import resolve_plain
from flowmachine.errors import ConfigurationError, Problem


def problem_of(text: bytes | str) -> Problem:
    with pytest.raises(ConfigurationError) as caught:
        parse_documents(text, "orders.yaml")
    [problem] = caught.value.problems
    assert problem.path == "orders.yaml"
    return problem


def value_of(text: bytes | str) -> object:
    [document] = parse_documents(text, "orders.yaml")
    assert document.faults == ()
    return document.value


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "y", "n", "2024-01-01", "2024-01-01T10:00:00Z", "1:30", ".inf"]
)
def test_words_that_are_special_in_yaml_1_1_stay_texts(word: str) -> None:
    assert value_of(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("0x1f", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("9" * 301, "9" * 301),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert resolve_plain(text) == value


def test_keys_are_always_texts() -> None:
    assert value_of("1: a\ntrue: b\nno: c\n~: d") == {"1": "a", "true": "b", "no": "c", "~": "d"}


def test_quoted_scalars_and_tagged_texts_are_texts() -> None:
    assert value_of("a: '5'\nb: !!str 5\nc: !!int '5'\nd: !!timestamp 2024-01-01") == {
        "a": "5",
        "b": "5",
        "c": 5,
        "d": "2024-01-01",
    }


def test_anchors_and_merge_keys_work_as_in_kubectl() -> None:
    text = "a: &a {x: 1, y: 1}\nb:\n  <<: *a\n  y: 2\nc:\n  <<: [*a, {z: 3}]\nd: *a\n&k e: 1\nf: {*k : 2}"
    assert value_of(text) == {
        "a": {"x": 1, "y": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 1, "z": 3},
        "d": {"x": 1, "y": 1},
        "e": 1,
        "f": {"e": 2},
    }


def test_a_byte_order_mark_is_fine() -> None:
    assert value_of(b"\xef\xbb\xbfa: 1") == {"a": 1}


def test_json_may_be_indented_with_tabs() -> None:
    assert value_of('{\n\t"a": "\\ud83d\\ude00"\n}') == {"a": "\U0001f600"}


def test_yaml_in_flow_style_may_look_like_json() -> None:
    assert value_of('{"a": 1, b: no,}') == {"a": 1, "b": "no"}


def test_empty_documents_are_left_out() -> None:
    assert parse_documents("", "x") == []
    assert parse_documents("# nothing\n---\n---\n", "x") == []


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("a: b: c", "not-yaml", "not YAML: line 1, column 5: mapping values are not allowed in this context"),
        ("a:\n\t- 1", "not-yaml", "not YAML: line 2, column 1: a tab stands here; YAML is indented with spaces"),
        ("a: 1\nb: \x00", "not-yaml", "not YAML: line 2, column 4: a control character stands here"),
        ("a: [1, 2", "not-yaml", "not YAML: line 2, column 1: did not find expected ',' or ']'"),
        ('{"a": ]}', "not-yaml", "not YAML: line 1, column 7: did not find expected node content"),
        ('{"a": NaN', "not-yaml", "not YAML: line 2, column 1: did not find expected ',' or '}'"),
        (b"\xff\xfea\x00", "not-utf-8", "not UTF-8: the byte at position 0 does not belong there"),
        ("a: \ud800", "not-utf-8", "not UTF-8: holds half of a character (a lone surrogate)"),
        ("? [a]\n: 1", "bad-key", "line 1, column 3: a key must be a text, not a list or a mapping"),
        ("a: &a [1]\n? *a\n: 1", "bad-key", "line 2, column 3: a key must be a text"),
        ("a: &a [*a]", "recursive-alias", "line 1, column 8: the alias *a stands inside of what it refers to"),
        ("a: *b", "unknown-alias", "line 1, column 4: the alias *b refers to nothing above it"),
        ("a: {<<: 5}", "bad-merge", "line 1, column 10: the merge key << above takes a mapping or a list of mappings"),
    ],
)
def test_text_that_cannot_be_read(text: bytes | str, code: str, message: str) -> None:
    problem = problem_of(text)
    assert (problem.code, problem.message) == (code, message)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "- " * 5_000, "{a: " * 200 + "}" * 200])
def test_deep_nesting_is_refused(text: str) -> None:
    assert problem_of(text).message == f"nests deeper than {DEPTH_MAX} levels"


def test_json_that_is_complete_and_too_deep_is_refused() -> None:
    assert problem_of('{"a":' * 150 + "1" + "}" * 150).code == "too-deep"
    assert problem_of('{"a":' * 50_000 + "1" + "}" * 50_000).code == "too-deep"


def test_nesting_through_aliases_is_refused() -> None:
    chain = "\n".join(["a0: &a0 [1]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300))])
    assert problem_of(chain).code == "too-deep"


def test_an_alias_bomb_is_refused() -> None:
    levels = (f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    assert problem_of("\n".join(["a0: &a0 [1]", *levels])).code == "too-large"


def test_an_alias_bomb_over_many_documents_is_refused() -> None:
    levels = (f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5))
    assert problem_of("\n---\n".join(["\n".join(["a0: &a0 [1]", *levels])] * 200)).code == "too-large"


def test_five_megabytes_are_refused() -> None:
    problem = problem_of("#" * 5_000_000)
    assert problem.message == f"is 5000000 bytes large; at most {SIZE_BYTES_MAX} are read"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "a: 1\nb:\n  - c: 1\n    c: 2",
            [("b[0].c", "duplicate-key", "'c' stands here more than once, again in line 4")],
        ),
        ('{"b": [{"c": 1, "c": 2}]}', [("b[0].c", "duplicate-key", "'c' stands here more than once")]),
        ('{"a": 1e999}', [("a", "not-json", "is a number out of range")]),
        ('{"a": ' + "9" * 5000 + "}", [("a", "not-json", "is a number out of range")]),
        ('{"a": "\\ud800"}', [("a", "not-json", "holds half of a character (a lone surrogate)")]),
        ("a: 1e999", [("a", "not-json", "is a number out of range")]),
        (
            "a: [!!set {b}]",
            [("a[0]", "unknown-tag", "has a YAML tag of its own; only plain JSON values are read here")],
        ),
        ("a: !x 1", [("a", "unknown-tag", "has a YAML tag of its own; only plain JSON values are read here")]),
    ],
)
def test_what_json_does_not_have_is_named_with_its_place(text: str, problems: list[tuple[str, str, str]]) -> None:
    [document] = parse_documents(text, "x")
    assert [(format_path(fault.path), fault.code, fault.message) for fault in document.faults] == problems


def test_json_and_yaml_of_one_value_are_the_same() -> None:
    value = {"a": [1, 2.5, None, True, "no"], "b": {"c": "x: y"}}
    assert value_of(json.dumps(value)) == value_of("# yaml\n" + json.dumps(value)) == value
