import copy
from typing import Any

import pytest

from flowmachine.core.definition import MetadataMerge
from flowmachine.core.merge import merge_deep, merge_shallow
from flowmachine.wire.message import DEPTH_MAX


def nested(levels: int, innermost: Any) -> dict[str, Any]:
    value = innermost
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("metadata", "payload", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({}, {"a": 1}, {"a": 1}),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"a": [1, 2, 3]}, {"a": [9]}, {"a": [9]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
    ],
)
def test_shallow_merge_replaces_whole_values_of_the_first_level(
    metadata: dict[str, Any], payload: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert merge_shallow(metadata, payload) == merged


@pytest.mark.parametrize(
    ("metadata", "payload", "merged"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="flat"),
        pytest.param({"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": 2}}, {"a": {"x": 1, "y": 2, "z": 2}}, id="objects"),
        pytest.param({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}, id="deeper"),
        pytest.param({"a": [1, 2, 3]}, {"a": [9]}, {"a": [9, 2, 3]}, id="shorter array keeps the rest"),
        pytest.param({"a": [1]}, {"a": [9, 8, 7]}, {"a": [9, 8, 7]}, id="longer array adds its rest"),
        pytest.param({"a": [1]}, {"a": []}, {"a": [1]}, id="empty array takes nothing away"),
        pytest.param({"a": [{"x": 1}, 2]}, {"a": [{"y": 2}]}, {"a": [{"x": 1, "y": 2}, 2]}, id="objects in arrays"),
        pytest.param({"a": [[1, 2], [3]]}, {"a": [[9]]}, {"a": [[9, 2], [3]]}, id="arrays in arrays"),
        pytest.param({"a": [1, 2]}, {"a": [None]}, {"a": [None, 2]}, id="null in an array replaces"),
        pytest.param({"a": {"x": 1}}, {"a": None}, {"a": None}, id="null replaces"),
        pytest.param({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="object replaces null"),
        pytest.param({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}, id="empty object takes nothing away"),
        pytest.param({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}, id="object replaces number"),
        pytest.param({"a": {"x": 1}}, {"a": "text"}, {"a": "text"}, id="text replaces object"),
        pytest.param({"a": [1]}, {"a": {"x": 1}}, {"a": [1]}, id="array stays an array, names do not fit into it"),
        pytest.param({"a": [1]}, {"a": {"0": 2, "2": 3}}, {"a": [2, None, 3]}, id="array takes an object's indexes"),
        pytest.param({"a": [1, 2]}, {"a": {"length": 1, "1": 9}}, {"a": [1]}, id="array takes an object's length"),
        pytest.param({"a": [1]}, {"a": {"01": 2, "-1": 3}}, {"a": [1]}, id="what is no index"),
        pytest.param({"a": [1]}, {"a": {"4000000000": 1, "length": 1e9}}, {"a": [1]}, id="no array of that length"),
        pytest.param({"a": [1]}, {"a": {"length": -1}}, {"a": [1]}, id="no such length"),
        pytest.param({"a": {"length": 2, "1": "b"}}, {"a": ["c"]}, {"a": ["c", "b"]}, id="array onto array-like"),
        pytest.param({"a": {"length": 1e9}}, {"a": ["c"]}, {"a": ["c"]}, id="array onto something too long"),
        pytest.param({}, {"__proto__": {"x": 1}}, {}, id="prototype"),
        pytest.param({}, {"__proto__": 1, "toString": [1]}, {"__proto__": 1, "toString": [1]}, id="inherited names"),
        pytest.param({"a": {"x": 1}}, {"a": [1]}, {"a": [1]}, id="array replaces object"),
        pytest.param({"a": "text"}, {"a": [1]}, {"a": [1]}, id="text is no array"),
    ],
)
def test_deep_merge_follows_lodash(metadata: dict[str, Any], payload: dict[str, Any], merged: dict[str, Any]) -> None:
    assert merge_deep(metadata, payload) == merged


@pytest.mark.parametrize("merge", [merge_shallow, merge_deep])
def test_arguments_are_never_changed(merge: MetadataMerge) -> None:
    metadata = {"a": {"x": [1, {"y": 1}]}, "b": [1, 2], "c": 1}
    payload = {"a": {"x": [2, {"z": 2}, 3]}, "b": [9, 9, 9], "d": {}}
    before = copy.deepcopy((metadata, payload))
    merge(metadata, payload)
    assert (metadata, payload) == before


@pytest.mark.parametrize("merge", [merge_shallow, merge_deep])
def test_result_is_a_new_object(merge: MetadataMerge) -> None:
    metadata: dict[str, Any] = {"a": 1}
    assert merge(metadata, {}) is not metadata


def test_deepest_message_that_is_taken_can_be_merged() -> None:
    metadata, payload = nested(DEPTH_MAX, {"old": 1}), nested(DEPTH_MAX, {"new": 2})
    assert merge_deep(metadata, payload) == nested(DEPTH_MAX, {"old": 1, "new": 2})
