"""One trace per saga, without keeping one: its ids follow from the saga's id.

| id                            | is the beginning of SHA-256 of | length   |
|-------------------------------|--------------------------------|----------|
| the trace                     | `{saga id}`                    | 16 bytes |
| the span of the saga's change | `{saga id}/{seq}`              | 8 bytes  |

So any engine, after any restart, and anybody with a shell finds them again. The first change's span is the one that all
others stand below. Only a saga whose creator was being traced remembers something: the context that it came with, to
stay in that trace.
"""

from hashlib import sha256
from typing import Final, final

import msgspec

FIRST_SEQ: Final = 1


@final
class TraceContext(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A place in a trace, as W3C Trace Context writes it: `00-{trace id}-{span id}-{flags}`, and the vendors' state."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return self.traceparent[3:35]

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return self.traceparent[36:52]

    @property
    def is_sampled(self) -> bool:
        """Whether whoever was there first wants this trace to be kept."""
        return bool(int(self.traceparent[53:55], 16) & 1)


def make_context(trace_id: str, span_id: str, *, is_sampled: bool, tracestate: str = "") -> TraceContext:
    """The context of a span."""
    return TraceContext(f"00-{trace_id}-{span_id}-{is_sampled:02x}", tracestate)


def derive_trace_id(saga_id: str) -> str:
    """The trace of a saga that has come without one."""
    return sha256(saga_id.encode()).hexdigest()[:32]


def derive_span_id(saga_id: str, seq: int) -> str:
    """The span of a saga's change."""
    return sha256(f"{saga_id}/{seq}".encode()).hexdigest()[:16]
