"""Whether a child is as it is wanted, whose it is, and what its seal tells."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine_operator.build.seal import SEAL_ANNOTATION, seal
from flowmachine_operator.plan.drift import project
from flowmachine_operator.plan.ownership import Ownership, find_ownership
from flowmachine_operator.plan.prune import plan_prune

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_what_is_wanted_is_in_step_with_itself(wanted: object) -> None:
    assert project(wanted, wanted) == wanted


@given(st.dictionaries(st.sampled_from(["name", "a", "b"]), values, max_size=3), values)
def test_what_others_add_does_not_count(wanted: dict[str, object], foreign: object) -> None:
    assert project({**wanted, "foreign": foreign}, wanted) == wanted


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ({}, {"a": 1}),
        ({"a": 2}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": {"b": 2}}),
        ({"a": "text"}, {"a": {"b": 1}}),
        ({"a": "text"}, {"a": ["b"]}),
        ({"a": ["x", "y"]}, {"a": ["x"]}),
        ({"a": ["y"]}, {"a": ["x"]}),
        ({"a": [{"name": "other"}]}, {"a": [{"name": "mine"}]}),
        ({"a": [{"name": "mine", "v": 2}]}, {"a": [{"name": "mine", "v": 1}]}),
    ],
)
def test_a_changed_or_missing_field_is_noticed(live: object, wanted: object) -> None:
    assert project(live, wanted) != wanted


def test_foreign_entries_of_a_list_do_not_count_in_whatever_place() -> None:
    wanted = {"containers": [{"name": "engine", "image": "e:1"}]}
    live = {"containers": [{"name": "sidecar"}, {"name": "engine", "image": "e:1", "imagePullPolicy": "Always"}]}
    assert project(live, wanted) == wanted


def test_entries_of_one_name_are_told_apart_by_their_next_key() -> None:
    wanted = [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "readOnly": True}]
    assert project([{"name": "v", "mountPath": "/c"}, *reversed(wanted)], wanted) == wanted


def owned(**owner: Any) -> dict[str, Any]:
    return {
        "metadata": {"ownerReferences": [{"kind": "FlowMachine", "name": "m", "uid": "1", "controller": True} | owner]}
    }


@pytest.mark.parametrize(
    ("live", "whose"),
    [
        (owned(), Ownership.OURS),
        (owned(uid="2"), Ownership.OLD),
        (owned(name="other"), Ownership.FOREIGN),
        (owned(controller=False), Ownership.FOREIGN),
        (owned(kind="Deployment"), Ownership.FOREIGN),
        ({"metadata": {}}, Ownership.FOREIGN),
    ],
)
def test_whose_a_child_is(live: dict[str, Any], whose: Ownership) -> None:
    assert find_ownership(live, machine="m", uid="1") is whose


def mark_of(manifest: dict[str, Any]) -> object:
    metadata: Any = seal(manifest)["metadata"]
    return metadata["annotations"][SEAL_ANNOTATION]


def test_the_seal_changes_with_the_manifest() -> None:
    manifest = {"kind": "Service", "metadata": {"name": "s", "annotations": {"a": "b"}}, "spec": {"x": 1}}
    assert mark_of(manifest) == mark_of(dict(manifest))
    assert mark_of(manifest) != mark_of({**manifest, "spec": {}})
    sealed: Any = seal(manifest)
    assert sealed["metadata"]["annotations"]["a"] == "b"


def test_the_seal_of_a_secret_tells_its_keys_only() -> None:
    manifest = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": "YQ=="}}
    assert mark_of(manifest) == mark_of({**manifest, "data": {"password": "Yg=="}})
    assert mark_of(manifest) != mark_of({**manifest, "data": {}})


def config_map(name: str, created: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}}


def test_the_oldest_config_maps_go_once_no_pod_needs_them() -> None:
    found = [config_map(f"c{number}", f"2026-01-0{number}") for number in (5, 1, 2, 3, 4, 6)]
    pruned = plan_prune(found, current="c1", is_rolled_out=True)
    assert [item["metadata"]["name"] for item in pruned] == ["c2", "c3"]  # type: ignore[index]
    assert plan_prune(found, current="c1", is_rolled_out=False) == ()
    assert plan_prune(found[:3], current="c1", is_rolled_out=True) == ()
