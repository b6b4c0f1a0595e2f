from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.timestamps import format_timestamp, parse_timestamp

LAST_MS = 253_402_300_799_999
times = st.integers(0, LAST_MS)


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_709_164_800_050, "2024-02-29T00:00:00.050Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_look_as_javascript_writes_them(at_ms: int, text: str) -> None:
    assert format_timestamp(at_ms) == text


@pytest.mark.parametrize("at_ms", [-1, -(2**63)])
def test_times_before_1970_become_its_first_millisecond(at_ms: int) -> None:
    assert format_timestamp(at_ms) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize("at_ms", [LAST_MS + 1, 2**63 - 1, 10**30])
def test_times_beyond_four_digits_become_the_last_millisecond(at_ms: int) -> None:
    assert format_timestamp(at_ms) == "9999-12-31T23:59:59.999Z"


@given(times)
def test_time_comes_back_exactly(at_ms: int) -> None:
    assert parse_timestamp(format_timestamp(at_ms)) == at_ms


@given(times, times)
def test_text_sorts_by_time(one: int, other: int) -> None:
    assert (format_timestamp(one) < format_timestamp(other)) == (one < other)


@given(times)
def test_text_is_the_time_that_everybody_reads(at_ms: int) -> None:
    assert datetime.fromisoformat(format_timestamp(at_ms)).astimezone(UTC).timestamp() * 1000 == pytest.approx(
        at_ms, abs=0.5
    )
