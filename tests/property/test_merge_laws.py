import copy
from typing import Any

import msgspec
from hypothesis import given

from flowmachine.core.definition import MetadataMerge, Payload
from flowmachine.core.merge import merge_deep, merge_shallow
from flowmachine.core.payload import encode_payload, merge_into
from tests.support.strategies import heavy, merges, payloads


def as_bytes(value: Any) -> bytes:
    """JSON, so that 1, 1.0 and True differ."""
    return msgspec.json.encode(value, order="sorted")


@heavy
@given(merges, payloads)
def test_nothing_merged_is_nothing_changed(merge: MetadataMerge, metadata: Payload) -> None:
    assert as_bytes(merge(metadata, {})) == as_bytes(metadata)
    assert as_bytes(merge({}, metadata)) == as_bytes(metadata)


@heavy
@given(merges, payloads, payloads)
def test_merging_twice_is_merging_once(merge: MetadataMerge, metadata: Payload, payload: Payload) -> None:
    once = merge(metadata, payload)
    assert as_bytes(merge(once, payload)) == as_bytes(once)


@heavy
@given(merges, payloads, payloads)
def test_fields_are_those_of_both(merge: MetadataMerge, metadata: Payload, payload: Payload) -> None:
    assert merge(metadata, payload).keys() == metadata.keys() | payload.keys()


@heavy
@given(merges, payloads, payloads)
def test_arguments_are_not_changed(merge: MetadataMerge, metadata: Payload, payload: Payload) -> None:
    before = copy.deepcopy((metadata, payload))
    merge(metadata, payload)
    assert as_bytes((metadata, payload)) == as_bytes(before)


@heavy
@given(payloads, payloads, payloads)
def test_shallow_merge_is_associative(one: Payload, two: Payload, three: Payload) -> None:
    assert as_bytes(merge_shallow(merge_shallow(one, two), three)) == as_bytes(
        merge_shallow(one, merge_shallow(two, three))
    )


@heavy
@given(payloads, payloads)
def test_shallow_merge_takes_every_value_of_the_payload(metadata: Payload, payload: Payload) -> None:
    merged = merge_shallow(metadata, payload)
    assert as_bytes({field: merged[field] for field in payload}) == as_bytes(payload)


@heavy
@given(payloads, payloads)
def test_deep_merge_is_the_shallow_one_where_nothing_is_nested_in_both(metadata: Payload, payload: Payload) -> None:
    flat = {field: value for field, value in payload.items() if not isinstance(value, dict | list)}
    assert as_bytes(merge_deep(metadata, flat)) == as_bytes(merge_shallow(metadata, flat))


@heavy
@given(payloads, payloads)
def test_deep_merge_keeps_every_leaf_of_the_payload(metadata: Payload, payload: Payload) -> None:
    assert holds(merge_deep(metadata, payload), payload)


@heavy
@given(payloads, payloads)
def test_deep_merge_keeps_what_the_payload_does_not_mention(metadata: Payload, payload: Payload) -> None:
    assert keeps(merge_deep(metadata, payload), metadata, payload)


def holds(merged: Any, value: Any) -> bool:
    """Whether every leaf of `value` is in `merged` at its place."""
    if isinstance(value, dict) and isinstance(merged, list):  # it was an array before, and has no room for names
        indexes = [field for field in value if field in set("0123456789") and int(field) < len(merged)]
        return all(holds(merged[int(field)], value[field]) for field in indexes)
    if isinstance(value, dict):
        return isinstance(merged, dict) and all(
            field in merged and holds(merged[field], value[field]) for field in value
        )
    if isinstance(value, list):
        return isinstance(merged, list) and all(map(holds, merged, value)) and len(merged) >= len(value)
    return as_bytes(merged) == as_bytes(value)


def keeps(merged: Any, old: Any, new: Any) -> bool:
    """Whether what is only in `old` is in `merged` at its place."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(
            keeps(merged[field], old[field], new[field]) if field in new else merged[field] is old[field]
            for field in old
        )
    if isinstance(old, list) and isinstance(new, list):
        return merged[len(new) :] == old[len(new) :] and all(map(keeps, merged, old, new))
    return True


@heavy
@given(merges, payloads, payloads)
def test_text_of_metadata_is_merged_as_the_metadata_are(
    merge: MetadataMerge, metadata: Payload, payload: Payload
) -> None:
    merged = merge_into(encode_payload(metadata), payload, merge)
    assert bytes(merged) == msgspec.json.encode(merge(metadata, payload))
