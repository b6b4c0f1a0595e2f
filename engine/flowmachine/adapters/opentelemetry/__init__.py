"""Traces to an OTLP/HTTP receiver (extra `tracing`), configured by OpenTelemetry's own variables: docs/tracing.md.

| module     | holds                                                              |
|------------|--------------------------------------------------------------------|
| `tracer`   | steps and deliveries as spans; fulfils `ports.Tracer`                |
| `exporter` | their way out, in a thread of its own; what is said when it is barred |
| `opened`   | whether traces are wanted, and a tracer if they are                  |

Spans are made whole, after the fact and with ids that follow from the saga, so the SDK's sampler, resource, queue and
exporter are used, and its tracer is not.
"""

from flowmachine.adapters.opentelemetry.opened import opened_tracer

__all__ = ["opened_tracer"]
