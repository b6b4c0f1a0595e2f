"""Deep merge against lodash itself, which runs in the JavaScript engine that runs hooks.

Numbers are small: a JavaScript number is a double, and we keep the digits of larger ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from flowmachine.core.merge import UNDEFINED, merge_deep

quickjs = pytest.importorskip("quickjs", reason="needs the extra `javascript`: pip install -e '.[javascript]'")

_TOO_LONG_FOR_LODASH = 100_000

scalars = st.none() | st.booleans() | st.integers(-3, 6) | st.sampled_from([0.5, 1000, "", "0", "2", "text", "ü"])
keys = st.sampled_from(["a", "b", "0", "1", "3", "01", "-1", "length", "__proto__", "constructor", "toString", "ü"])


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects whose `length`, if there is one, is no array and no object: what lodash makes of these is no JSON."""
    return st.dictionaries(keys, inner, max_size=4).map(
        lambda made: {
            key: None if key == "length" and isinstance(item, dict | list) else item for key, item in made.items()
        }
    )


values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | objects(inner), max_leaves=12)
documents = objects(values)

CUSTOMIZERS = {
    "none": ("undefined", None),
    "concat": (
        "(old, value) => Array.isArray(old) && Array.isArray(value) ? old.concat(value) : undefined",
        lambda old, new: old + new if isinstance(old, list) and isinstance(new, list) else UNDEFINED,
    ),
    "first": ("(old, value) => (typeof old === 'function' ? undefined : old)", lambda old, new: old),
    "null": ("(old, value) => value === 1 ? null : undefined", lambda old, new: None if is_one(new) else UNDEFINED),
}


def is_one(value: Any) -> bool:
    return value == 1 and not isinstance(value, bool)


@pytest.fixture(scope="module")
def lodash(node_packages: Path) -> Callable[[Any, Any, str], str]:
    """(metadata, payload, name of the customizer) -> the merged object as lodash has it, as JSON."""
    context = quickjs.Context()
    source = (node_packages / "node_modules" / "lodash" / "lodash.js").read_text("utf-8")
    context.eval("var module = {exports: {}}, exports = module.exports;")
    context.eval(source)
    named = ", ".join(f"{name!r}: {script}" for name, (script, _) in CUSTOMIZERS.items())
    merge = context.eval(
        f"(() => {{ const _ = module.exports, named = {{{named}}}; return (metadata, payload, name) => "
        "JSON.stringify(_.mergeWith(JSON.parse(metadata), JSON.parse(payload), named[name])) })()"
    )
    return lambda metadata, payload, name: merge(json.dumps(metadata), json.dumps(payload), name)


@settings(max_examples=600)
@given(documents, documents, st.sampled_from(sorted(CUSTOMIZERS)))
@example({"a": [1]}, {"a": {"x": 1, "0": 2}}, "none")
@example({"a": {"length": 2, "0": 1, "1": {"b": 1}}}, {"a": [2, {"c": 2}]}, "none")
@example({"__proto__": {"a": 1}}, {"__proto__": {"b": 1}}, "none")
@example({"a": [1, 2]}, {"a": {"length": 1, "1": 5}}, "none")
def test_deep_merge_is_lodash_merge_with(
    lodash: Callable[[Any, Any, str], str], metadata: dict[str, Any], payload: dict[str, Any], name: str
) -> None:
    try:
        expected = lodash(metadata, payload, name)
    except quickjs.JSException as error:
        assume("RangeError" not in str(error))  # an array's length that cannot be: ours leaves it out
        raise
    assume(len(expected) < _TOO_LONG_FOR_LODASH)
    customize = CUSTOMIZERS[name][1]
    ours = merge_deep(metadata, payload, customize)
    assert json.dumps(ours, sort_keys=True) == json.dumps(json.loads(expected), sort_keys=True)
