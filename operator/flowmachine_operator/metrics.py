"""The operator's own metrics; each operator counts what it does itself."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

PASS_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """One per process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, for a time nobody asks for
        self._registry = registry = CollectorRegistry(auto_describe=False)
        self.is_leader = Gauge("flowmachine_operator_leader", "1 for the operator that acts.", registry=registry)
        self.machines = Gauge(
            "flowmachine_operator_machines",
            "FlowMachines by the reason of their Ready.",
            ("reason",),
            registry=registry,
        )
        self.passes = Counter(
            "flowmachine_operator_passes", "Looks at one FlowMachine, by outcome.", ("outcome",), registry=registry
        )
        self.pass_seconds = Histogram(
            "flowmachine_operator_pass_seconds", "How long they took.", buckets=PASS_BUCKETS, registry=registry
        )
        self.writes = Counter(
            "flowmachine_operator_writes", "Writes to the API server.", ("kind", "verb"), registry=registry
        )
        self.kafka_asked = Counter(
            "flowmachine_operator_kafka_asked", "Times that Kafka was asked, by answer.", ("answer",), registry=registry
        )
        self.admissions = Counter(
            "flowmachine_operator_admissions", "Answers of the webhook.", ("allowed",), registry=registry
        )

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)
