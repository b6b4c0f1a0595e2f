"""The way of spans to their receiver: the SDK's queue and thread. Whatever happens there, the engine goes on."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

CLOSE_SECONDS_MAX: Final = 3.0
"""What is still in the queue when the engine stops has this long; the SDK would wait for half a minute."""

_REPETITIVE: Final = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that speak of every batch."""

_log = logging.getLogger(__name__)


class SpanOutlet:
    """Takes spans from the event loop."""

    def __init__(self, endpoint: str) -> None:
        self._reasons = _FirstReason()
        self._exporter = WatchedExporter(OTLPSpanExporter(), endpoint, self._reasons)
        self._processor = BatchSpanProcessor(self._exporter)

    def put(self, span: ReadableSpan) -> None:
        """Queue a span; a full queue loses its oldest."""
        self._processor.on_end(span)

    async def close(self) -> None:
        """Send what is left, as far as that goes quickly."""
        closing = threading.Thread(target=self._processor.shutdown, name="close traces", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_SECONDS_MAX)
        self._exporter.shutdown()  # ends an attempt that waits for its next try


class WatchedExporter(SpanExporter):
    """Says in one line that spans cannot be delivered, and in another that they can again."""

    def __init__(self, exporter: SpanExporter, endpoint: str, reasons: "_FirstReason") -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._reasons = reasons
        self._is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """In the queue's thread."""
        result = self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing and not self._is_failing:
            extra = {"endpoint": self._endpoint, "reason": self._reasons.text}
            _log.warning("traces cannot be delivered and are lost; the engine goes on", extra=extra)
        if self._is_failing and not is_failing:
            _log.info("traces are delivered again", extra={"endpoint": self._endpoint})
        self._is_failing = is_failing
        self._reasons.text = ""
        return result

    def shutdown(self) -> None:
        """As the SDK says."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the SDK says."""
        return self._exporter.force_flush(timeout_millis)


class _FirstReason(logging.Handler):
    """Keeps what the SDK says first instead of letting it be written: it repeats itself with every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        for name in _REPETITIVE:
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.propagate = False
        logging.getLogger("opentelemetry.trace.span").setLevel(logging.CRITICAL)  # of every `tracestate` that is bad

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.text = self.text or record.getMessage()
