import pytest

from flowmachine.core.actions import Outcome
from flowmachine.wire.log import OutputRecord, StoredRecord
from flowmachine.wire.unmatched import encode_unmatched, format_origin
from tests.support.builders import record

LIMIT = 1_000_000


def kept(read: StoredRecord, reason: str = "because", outcome: Outcome = Outcome.UNEXPECTED) -> OutputRecord:
    return encode_unmatched(read, outcome, reason, topic="shop.unmatched", partition=3, record_bytes_max=LIMIT)


def size(written: OutputRecord) -> int:
    headers = sum(len(name) + len(value) for name, value in written.headers)
    return len(written.key or b"") + len(written.value or b"") + headers


def test_input_is_kept_as_it_came_with_outcome_reason_and_origin() -> None:
    written = kept(record(b"\xffjunk", key=b"order-1", topic="events", partition=7, offset=42), "no such event")
    assert (written.topic, written.partition, written.key, written.value) == (
        "shop.unmatched",
        3,
        b"order-1",
        b"\xffjunk",
    )
    assert list(written.headers) == [
        ("flowmachine-outcome", b"unexpected"),
        ("flowmachine-reason", b"no such event"),
        ("flowmachine-origin", b"events/7/42"),
    ]


def test_origin_is_topic_partition_offset() -> None:
    assert format_origin(record(b"", topic="a.b-c", partition=12, offset=3456)) == "a.b-c/12/3456"


@pytest.mark.parametrize(("key", "value"), [(None, b"x"), (b"k", None), (None, None), (b"", b"")])
def test_absent_keys_and_values_stay_absent(key: bytes | None, value: bytes | None) -> None:
    written = kept(record(value, key=key))
    assert (written.key, written.value) == (key, value)


def test_long_reason_is_cut() -> None:
    assert dict(kept(record(b"x"), "r" * 5_000).headers)["flowmachine-reason"] == b"r" * 1_000


def test_reason_that_is_no_proper_text_is_kept_as_far_as_possible() -> None:
    assert dict(kept(record(b"x"), "half \ud800 pair").headers)["flowmachine-reason"] == b"half ? pair"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"k", b"v" * (LIMIT - 1)),
        (b"k" * (LIMIT - 1), b"v"),
        (b"k" * 2_000_000, b"v" * 3_000_000),
        (None, b"v" * LIMIT),
    ],
    ids=["value", "key", "both beyond the limit", "no key"],
)
def test_input_that_would_not_fit_beside_its_headers_is_shortened_and_says_so(key: bytes | None, value: bytes) -> None:
    written = kept(record(value, key=key), "ü" * 5_000)
    assert dict(written.headers)["flowmachine-shortened"] == b"true"
    assert written.key == (key and key[:65_536])
    assert written.value == value[:65_536]


@pytest.mark.parametrize("length", [10, LIMIT - 5_000, LIMIT - 4_200, LIMIT - 4_100, LIMIT - 4_000, LIMIT])
def test_kept_record_always_fits_the_log_whatever_its_reason(length: int) -> None:
    read = record(b"v" * length, key=b"k", topic="t" * 249, partition=2**31, offset=2**63)
    assert size(kept(read, "🎉" * 1_000, Outcome.INVALID_PAYLOAD)) <= LIMIT


def test_input_that_just_fits_is_kept_whole() -> None:
    written = kept(record(b"v" * (LIMIT - 10_000)))
    assert len(written.value or b"") == LIMIT - 10_000
    assert "flowmachine-shortened" not in dict(written.headers)
