"""What happens in the runtime, as Prometheus metrics (`docs/metrics.md`)."""

from flowmachine.adapters.prometheus.observer import PrometheusObserver

__all__ = ["PrometheusObserver"]
