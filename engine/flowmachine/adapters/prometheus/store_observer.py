"""The projector's and the reader's StoreObserver: counts, in the engine's registry."""

from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram

PROJECTION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusStoreObserver:
    """Fulfils `ports.StoreObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._projected = prometheus_client.Counter(
            "flowmachine_projected_sagas", "Copies of sagas for the store, by outcome.", ("outcome",), registry=registry
        )
        self._projection_seconds = Histogram(
            "flowmachine_projection_seconds",
            "How long the store took for a batch of copies.",
            buckets=PROJECTION_BUCKETS,
            registry=registry,
        )
        self._projection_lag = Gauge(
            "flowmachine_projection_lag", "Records of the sagas topic that are not in the store yet.", registry=registry
        )
        self._store_available = Gauge(
            "flowmachine_store_available", "1 while the store does what it is asked.", ("type",), registry=registry
        )
        self._store_failures = prometheus_client.Counter(
            "flowmachine_store_failures", "Requests that the store did not do, by code.", ("code",), registry=registry
        )

    def projected(self, written: int, refused: int, seconds: float) -> None:
        """Count copies that are in the store, and those that it does not take."""
        self._projected.labels("written").inc(written)
        self._projected.labels("refused").inc(refused)
        self._projection_seconds.observe(seconds)

    def store_worked(self, kind: str) -> None:
        """The store is there."""
        self._store_available.labels(kind).set(1)

    def store_failed(self, kind: str, code: str) -> None:
        """The store is not there, or refuses us."""
        self._store_available.labels(kind).set(0)
        self._store_failures.labels(code).inc()

    def projection_lagged(self, records: int) -> None:
        """So much is not in the store yet."""
        self._projection_lag.set(records)
