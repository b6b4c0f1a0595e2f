"""W3C Trace Context in headers, of Kafka records and of HTTP requests alike: `traceparent` and `tracestate`.

What is not well-formed is as good as absent: no sender's tracing may stand in a saga's way.
"""

import re
from collections.abc import Iterable
from typing import Final

from flowmachine.core.trace import TraceContext
from flowmachine.wire.log import Headers

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
TRACESTATE_LENGTH_MAX: Final = 512
"""What the standard asks everyone to pass on; it may be left out when it is longer."""

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_PARENT_LENGTH: Final = 55


def parse_trace_context(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """The context in the values of the two headers."""
    if not _TRACEPARENT.fullmatch(traceparent) or (traceparent.startswith("00") and len(traceparent) > _PARENT_LENGTH):
        return None
    is_passed_on = len(tracestate) <= TRACESTATE_LENGTH_MAX and tracestate.isascii() and tracestate.isprintable()
    return TraceContext(f"00{traceparent[2:_PARENT_LENGTH]}", tracestate if is_passed_on else "")


def decode_trace_context(headers: Headers) -> TraceContext | None:
    """The context in a record's headers; of several the first."""
    # A value may also be null in Kafka.
    found = {name: value for name, value in reversed(headers) if name in (TRACEPARENT, TRACESTATE) and value}
    if TRACEPARENT not in found:
        return None
    try:
        return parse_trace_context(found[TRACEPARENT].decode("ascii"), found.get(TRACESTATE, b"").decode("ascii"))
    except UnicodeDecodeError:
        return None


def encode_trace_context(context: TraceContext | None) -> Headers:
    """Headers for a record."""
    if context is None:
        return ()
    parent = (TRACEPARENT, context.traceparent.encode())
    return (parent, (TRACESTATE, context.tracestate.encode())) if context.tracestate else (parent,)


def trace_headers(headers: Iterable[tuple[str, bytes]]) -> Headers:
    """Those of a record's headers that hold a context, as they are: for whoever only passes it on."""
    return tuple(header for header in headers if header[0] in (TRACEPARENT, TRACESTATE))
