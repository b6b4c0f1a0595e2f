"""Steps and deliveries as spans."""

import time
from collections.abc import Callable, Mapping, Sequence
from random import getrandbits
from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from flowmachine.core.actions import Outcome
from flowmachine.core.saga import OutboxEntry
from flowmachine.core.trace import TraceContext, derive_span_id, derive_trace_id, make_context
from flowmachine.partition.tracing import Step
from flowmachine.wire.trace import TRACEPARENT, TRACESTATE

_NS_PER_MS: Final = 1_000_000
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_OK: Final = Status(StatusCode.UNSET)
_WITHOUT_RECORD: Final = {Outcome.RESUMED: "resume", Outcome.ADOPTED: "adopt"}

PutSpan = Callable[[ReadableSpan], None]


def build_resource(*, machine: str, revision: str, version: str) -> Resource:
    """Who sends the spans: what the environment says, and what runs here."""
    found = Resource.create({"flowmachine.machine": machine, "flowmachine.revision": revision})
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: f"flowmachine-{machine}", "service.version": version}))
    return found


class OpenTelemetryTracer:
    """Fulfils `ports.Tracer`. Owned by one event loop; only `put` knows where spans go."""

    def __init__(self, put: PutSpan, resource: Resource, *, version: str) -> None:
        self._put = put
        self._resource = resource
        self._scope = InstrumentationScope("flowmachine", version)
        self._sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler

    def is_sampled(self, trace_id: str) -> bool:
        return self._sampler.should_sample(None, int(trace_id, 16), "saga").decision is Decision.RECORD_AND_SAMPLE

    def committed(self, steps: Sequence[Step], at_ms: int) -> None:
        for step in steps:
            place = step.place
            self._put(
                ReadableSpan(
                    name=_name_of(step),
                    context=_span_context(place.context),
                    parent=_parent_context(place.context, place.parent_id),
                    resource=self._resource,
                    attributes=self._attributes(step),
                    links=() if place.link is None else (Link(_span_context(place.link)),),
                    kind=SpanKind.CONSUMER if step.topic else SpanKind.INTERNAL,
                    status=Status(StatusCode.ERROR, step.reason) if step.is_failure else _OK,
                    start_time=min(step.at_ms, at_ms) * _NS_PER_MS,
                    end_time=at_ms * _NS_PER_MS,
                    instrumentation_scope=self._scope,
                )
            )

    def start_delivery(self, saga_id: str, entry: OutboxEntry, attempt: int) -> "DeliverySpan":
        return DeliverySpan(self, saga_id, entry, attempt)

    def is_kept(self, trace_id: str, trace: TraceContext | None) -> bool:
        """Whether spans of a saga's trace are wanted: whoever began it has decided."""
        return self.is_sampled(trace_id) if trace is None else trace.is_sampled

    def put_delivery(self, span: "DeliverySpan", attributes: Mapping[str, AttributeValue], status: Status) -> None:
        """Take a delivery that has ended."""
        self._put(
            ReadableSpan(
                name=f"send {span.entry.label}",
                context=_span_context(span.context),
                parent=_parent_context(span.context, span.parent_id),
                resource=self._resource,
                attributes=attributes,
                kind=SpanKind.CLIENT,
                status=status,
                start_time=span.started_ns,
                end_time=time.time_ns(),
                instrumentation_scope=self._scope,
            )
        )

    def _attributes(self, step: Step) -> dict[str, AttributeValue]:
        attributes: dict[str, AttributeValue] = {
            "flowmachine.saga.id": step.saga_id,
            "flowmachine.saga.seq": step.seq,
            "flowmachine.outcome": step.outcome.value,
            "flowmachine.event": step.event,
            "flowmachine.state.before": step.state_before,
            "flowmachine.state": step.state,
            "flowmachine.commands": step.commands,
        }
        if step.reason:
            attributes["flowmachine.reason"] = step.reason
        if step.topic:
            attributes |= {
                "messaging.system": "kafka",  # the embedded log's topics are of the same kind
                "messaging.operation.type": "process",
                "messaging.destination.name": step.topic,
                "messaging.destination.partition.id": str(step.partition),
                "messaging.kafka.offset": step.offset,
                "messaging.kafka.message.key": step.saga_id,
            }
        return attributes


class DeliverySpan:
    """Fulfils `ports.DeliverySpan`. Its id is drawn: the same command may be sent many times."""

    def __init__(self, tracer: OpenTelemetryTracer, saga_id: str, entry: OutboxEntry, attempt: int) -> None:
        trace_id = derive_trace_id(saga_id) if entry.trace is None else entry.trace.trace_id
        self._tracer = tracer
        self._saga_id = saga_id
        self._attempt = attempt
        self.entry = entry
        self.parent_id = derive_span_id(saga_id, int(entry.id.partition(".")[0]))
        self.context = make_context(
            trace_id,
            f"{getrandbits(64) | 1:016x}",  # never zero
            is_sampled=tracer.is_kept(trace_id, entry.trace),
            tracestate="" if entry.trace is None else entry.trace.tracestate,
        )
        self.started_ns = time.time_ns()

    @property
    def headers(self) -> Mapping[str, str]:
        context = self.context
        parent = {TRACEPARENT: context.traceparent}
        return parent | {TRACESTATE: context.tracestate} if context.tracestate else parent

    def end(self, failure: str | None) -> None:
        if not self.context.is_sampled:
            return
        attributes: dict[str, AttributeValue] = {
            "flowmachine.saga.id": self._saga_id,
            "flowmachine.command": self.entry.label,
            "flowmachine.channel": self.entry.channel,
            "flowmachine.attempt": self._attempt,
            "flowmachine.idempotency_key": f"{self._saga_id}:{self.entry.id}",
        }
        status = _OK if failure is None else Status(StatusCode.ERROR, failure)
        self._tracer.put_delivery(self, attributes, status)


def _name_of(step: Step) -> str:
    """Few names: of an event that changed nothing the label may be anything, so it is an attribute only."""
    if step.outcome is Outcome.CREATED:
        return "create saga"
    if step.outcome is Outcome.ADVANCED:
        return f"event {step.event}"
    if step.outcome in _WITHOUT_RECORD:
        return f"{_WITHOUT_RECORD[step.outcome]} saga"
    return f"{step.outcome.value.replace('_', ' ')} event"


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=False,
        trace_flags=_SAMPLED if context.is_sampled else TraceFlags(TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([context.tracestate]) if context.tracestate else TraceState(),
    )


def _parent_context(own: TraceContext, parent_id: str) -> SpanContext | None:
    if not parent_id:
        return None
    return SpanContext(int(own.trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=_SAMPLED)
