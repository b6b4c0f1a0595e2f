"""Whether traces are wanted, and a tracer if they are."""

import importlib.util
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from flowmachine.ports import Tracer

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_log = logging.getLogger(__name__)


def wanted_endpoint(environment: Mapping[str, str]) -> str | None:
    """Where traces go by OpenTelemetry's variables; None: nowhere."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if environment.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp"):
        return None
    return environment.get(TRACES_ENDPOINT) or environment.get(ENDPOINT) or None


def find_obstacle(environment: Mapping[str, str]) -> str | None:
    """Why there can be no traces although they are wanted, in one sentence."""
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol and protocol != "http/protobuf":
        return f"the protocol is {protocol!r}, and this engine speaks http/protobuf only (port 4318 of most receivers)"
    try:
        is_installed = all(importlib.util.find_spec(name) for name in _NEEDED)
    except ModuleNotFoundError:
        is_installed = False
    return None if is_installed else "packages are missing: pip install 'flowmachine-operator[tracing]'"


@asynccontextmanager
async def opened_tracer(
    environment: Mapping[str, str], *, machine: str, revision: str, version: str
) -> AsyncGenerator[Tracer | None]:
    """A tracer for the length of a block; None unless an endpoint is configured.

    The variables are often given to all pods of a cluster, so what stands against them is no reason not to start.
    """
    endpoint = wanted_endpoint(environment)
    obstacle = None if endpoint is None else find_obstacle(environment)
    if obstacle is not None:
        _log.warning("no traces", extra={"endpoint": endpoint, "reason": obstacle})
    if endpoint is None or obstacle is not None:
        yield None
        return
    # Only here: it takes a while, needs the extra, and nobody else does.
    from flowmachine.adapters.opentelemetry.exporter import SpanOutlet
    from flowmachine.adapters.opentelemetry.tracer import OpenTelemetryTracer, build_resource

    outlet = SpanOutlet(endpoint)
    try:
        _log.info("traces are sent", extra={"endpoint": endpoint})
        resource = build_resource(machine=machine, revision=revision, version=version)
        yield OpenTelemetryTracer(outlet.put, resource, version=version)
    finally:
        await outlet.close()
