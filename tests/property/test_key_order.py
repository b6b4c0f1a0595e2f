"""Keys in order behave like a sorted set, whatever is added and removed."""

from hypothesis import given
from hypothesis import strategies as st

from flowmachine.partition import key_order
from flowmachine.partition.key_order import KeyOrder

KEYS = st.binary(max_size=2)


@given(
    changes=st.lists(st.tuples(st.booleans(), KEYS), max_size=200),
    after=KEYS,
    count_max=st.integers(1, 20),
    block=st.integers(1, 4),
)
def test_order_is_that_of_a_sorted_set(
    changes: list[tuple[bool, bytes]], after: bytes, count_max: int, block: int
) -> None:
    before = key_order.BLOCK_KEYS
    key_order.BLOCK_KEYS = block  # splits and emptied blocks with few keys
    try:
        order, expected = KeyOrder(), set[bytes]()
        for is_added, key in changes:
            if is_added:
                order.add(key)
                expected.add(key)
            else:
                order.discard(key)
                expected.discard(key)
            assert order.after(after, count_max) == sorted(key for key in expected if key > after)[:count_max]
    finally:
        key_order.BLOCK_KEYS = before
