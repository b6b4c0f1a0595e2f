from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.assignment import assign_partitions

MEMBERS = ("a", "b", "c", "d", "e", "f")


@st.composite
def ownerships(draw: st.DrawFn) -> tuple[dict[str, set[int]], int]:
    """What members owned before: disjoint, as after an orderly rebalance; some members are new, some are gone."""
    partitions = draw(st.integers(0, 20))
    members = draw(st.lists(st.sampled_from(MEMBERS), min_size=1, unique=True))
    owners = draw(st.lists(st.sampled_from([*members, "gone"]), min_size=partitions, max_size=partitions))
    return {member: {p for p, owner in enumerate(owners) if owner == member} for member in members}, partitions


def assert_even_and_complete(shares: dict[str, list[int]], partitions: int) -> None:
    assert sorted(partition for share in shares.values() for partition in share) == list(range(partitions))
    assert all(share == sorted(share) for share in shares.values())
    counts = [len(share) for share in shares.values()]
    assert max(counts) - min(counts) <= 1


@given(ownerships())
def test_every_partition_has_one_owner_and_shares_differ_by_one_at_most(
    before: tuple[dict[str, set[int]], int],
) -> None:
    owned, partitions = before
    shares = assign_partitions(owned, partitions)
    assert shares.keys() == owned.keys()
    assert_even_and_complete(shares, partitions)


@given(ownerships())
def test_no_partition_moves_that_need_not(before: tuple[dict[str, set[int]], int]) -> None:
    owned, partitions = before
    shares = assign_partitions(owned, partitions)
    kept = sum(len(owned[member] & set(share)) for member, share in shares.items())
    least, extra = divmod(partitions, len(owned))
    counts = sorted((len(had) for had in owned.values()), reverse=True)
    # The most that any even assignment can keep: the members with most partitions get the odd ones.
    assert kept == sum(min(count, least + (rank < extra)) for rank, count in enumerate(counts))


@given(ownerships())
def test_even_assignment_stays_as_it_is(before: tuple[dict[str, set[int]], int]) -> None:
    owned, partitions = before
    once = assign_partitions(owned, partitions)
    assert assign_partitions(once, partitions) == once


@given(st.dictionaries(st.sampled_from(MEMBERS), st.sets(st.integers(-2, 12)), min_size=1), st.integers(0, 10))
def test_claims_that_overlap_or_are_out_of_range_do_no_harm(owned: dict[str, set[int]], partitions: int) -> None:
    assert_even_and_complete(assign_partitions(owned, partitions), partitions)


@given(ownerships())
def test_order_of_members_and_claims_does_not_matter(before: tuple[dict[str, set[int]], int]) -> None:
    owned, partitions = before
    backwards: dict[str, Collection[int]] = {name: sorted(owned[name], reverse=True) for name in reversed(owned)}
    assert assign_partitions(backwards, partitions) == assign_partitions(owned, partitions)


@pytest.mark.parametrize(
    ("owned", "partitions", "shares"),
    [
        ({}, 4, {}),
        ({"a": []}, 0, {"a": []}),
        ({"a": []}, 3, {"a": [0, 1, 2]}),
        ({"a": [], "b": []}, 3, {"a": [0, 1], "b": [2]}),
        ({"a": [0, 1, 2, 3], "b": []}, 4, {"a": [0, 1], "b": [2, 3]}),
        ({"a": [], "b": [0, 1, 2]}, 3, {"a": [2], "b": [0, 1]}),
        ({"a": [1], "b": [0]}, 2, {"a": [1], "b": [0]}),
        ({"a": [], "b": [1], "c": []}, 2, {"a": [0], "b": [1], "c": []}),
    ],
    ids=["no members", "no partitions", "alone", "all new", "newcomer", "odd one stays", "swapped", "more members"],
)
def test_examples(owned: dict[str, list[int]], partitions: int, shares: dict[str, list[int]]) -> None:
    assert assign_partitions(owned, partitions) == shares


def test_two_that_claim_the_same_partition_do_not_both_get_it() -> None:
    assert assign_partitions({"a": [0, 1], "b": [0, 1]}, 2) == {"a": [0], "b": [1]}


def test_claims_out_of_range_give_no_right_to_the_odd_partition() -> None:
    assert assign_partitions({"a": [7, 8, 9], "b": [0, 1]}, 3) == {"a": [2], "b": [0, 1]}
