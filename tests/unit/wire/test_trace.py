"""W3C Trace Context in headers: what counts, what does not, and that nothing stands in the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.core.trace import TraceContext, derive_span_id, derive_trace_id, make_context
from flowmachine.wire.trace import decode_trace_context, encode_trace_context, parse_trace_context, trace_headers

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"

hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: int(text[:16], 16) > 0)


def test_context_is_read_from_its_header() -> None:
    context = parse_trace_context(PARENT, "vendor=1")
    assert context == TraceContext(PARENT, "vendor=1")
    assert (context.trace_id, context.span_id, context.is_sampled) == (TRACE, SPAN, True)


@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True), ("fe", False)])
def test_first_flag_says_whether_the_trace_is_kept(flags: str, is_sampled: bool) -> None:
    context = parse_trace_context(f"00-{TRACE}-{SPAN}-{flags}")
    assert context is not None
    assert context.is_sampled is is_sampled


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        PARENT[:-1],
        f"{PARENT}-more",  # version 00 has no more
        PARENT.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        f" {PARENT}",
        f"{PARENT}\n",
    ],
)
def test_what_is_not_well_formed_is_as_good_as_absent(value: str) -> None:
    assert parse_trace_context(value) is None
    assert decode_trace_context([("traceparent", value.encode())]) is None


def test_later_versions_are_read_as_far_as_they_are_known() -> None:
    assert parse_trace_context(f"01-{TRACE}-{SPAN}-01-more") == TraceContext(PARENT)


@pytest.mark.parametrize("state", ["x" * 513, "a=\n", "a=ü"])
def test_state_that_may_not_be_passed_on_is_left_out(state: str) -> None:
    assert parse_trace_context(PARENT, state) == TraceContext(PARENT)


def test_of_two_headers_the_first_counts_and_null_is_no_value() -> None:
    other = ("traceparent", PARENT.replace(SPAN, "1" * 16).encode())
    assert decode_trace_context([("traceparent", PARENT.encode()), other]) == TraceContext(PARENT)
    null: bytes = None  # type: ignore[assignment] # Kafka has it, its client's types do not
    assert decode_trace_context([("traceparent", null)]) is None


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "other"]), st.binary(max_size=80)), max_size=4))
def test_no_header_is_too_bad_to_look_at(headers: list[tuple[str, bytes]]) -> None:
    decode_trace_context(headers)
    assert [name for name, _ in trace_headers(headers)] == [name for name, _ in headers if name != "other"]


@given(hexadecimal, hexadecimal, st.booleans(), st.sampled_from(["", "vendor=1,other=2"]))
def test_context_comes_back_from_its_headers(trace: str, span: str, is_sampled: bool, state: str) -> None:
    context = make_context(trace, span[:16], is_sampled=is_sampled, tracestate=state)
    assert decode_trace_context(encode_trace_context(context)) == context
    assert context.is_sampled is is_sampled


def test_no_context_has_no_headers() -> None:
    assert encode_trace_context(None) == ()


def test_ids_can_be_found_with_a_shell() -> None:
    """`printf order-1 | sha256sum`, and `printf order-1/1 | sha256sum`."""
    assert derive_trace_id("order-1") == "0bafe22156d2698c143b86040446d366"
    assert derive_span_id("order-1", 1) == "05fda3694d96c979"
