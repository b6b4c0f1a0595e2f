"""The runtime's Observer: counts, in a registry of its own.

Rules: a label only has values that the machine's definition or our own code bounds, so an event nobody knows is never
one; label children are looked up once and kept, because `committed` runs for every transaction.

How many sagas are in which state is not counted here: every partition hands over its own live count, and the sum is
made when Prometheus asks. A partition's count is part of it while this engine is the one that has these sagas.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from flowmachine.adapters.prometheus.store_observer import PrometheusStoreObserver
from flowmachine.core.phases import Phase
from flowmachine.partition.plan import BatchPlan

TRANSACTION_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""Seconds: fine around the 20 to 40 ms of a Kafka transaction, and down to what the embedded log needs."""
TRANSITION_BUCKETS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: from one quick transaction to what piles up while the engines or Kafka are away."""
RESTORE_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
HOLDING: Final = frozenset({Phase.RESTORING, Phase.RUNNING})
"""Phases in which a partition's sagas count as this engine's: in `restoring` the count is of what has been read."""


class PrometheusObserver:
    """Fulfils `ports.Observer`; `store` fulfils `ports.StoreObserver`. Owned by one event loop."""

    def __init__(self, *, version: str, machine: str, revision: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series, for a time nobody asks for
        registry = CollectorRegistry(auto_describe=False)
        self._registry = registry
        counter = partial(prometheus_client.Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._states = counter(
            "flow_manager_saga_states",
            "How often sagas entered a state, by the event that led there.",
            ("state", "incoming_message_label"),
        )
        self._inputs = counter("flowmachine_inputs", "Inputs handled, by what became of them.", ("outcome",))
        self._forwarded = counter("flowmachine_forwarded", "Records passed on to the home partition of their saga.")
        self._hooks_failed = counter(
            "flowmachine_hooks_failed",
            "Payloads that a hook or an expression could not make, by state and command; no command: metadata that the "
            "hook of deepMergeMetadata could not merge.",
            ("state", "command"),
        )
        self._transaction_seconds = histogram(
            "flowmachine_transaction_seconds", "How long committed transactions took.", buckets=TRANSACTION_BUCKETS
        )
        self._transactions_failed = counter(
            "flowmachine_transactions_failed",
            "Times a partition had to start again from its last commit, by the error's code.",
            ("code",),
        )
        self._phase = gauge(
            "flowmachine_partition_phase",
            "1 for the phase that a partition of this engine is in.",
            ("partition", "phase"),
        )
        self._restored_records = counter("flowmachine_restored_records", "Records read from the changelog by restores.")
        self._restore_seconds = histogram(
            "flowmachine_restore_seconds", "How long restores took.", buckets=RESTORE_BUCKETS
        )
        self._lag = gauge(
            "flowmachine_input_lag", "Records of a partition's inputs that are not committed yet.", ("partition",)
        )
        self._commands = counter(
            "flowmachine_commands_http",
            "Attempts to deliver commands over HTTP, by channel and outcome.",
            ("channel", "outcome"),
        )
        self.store = PrometheusStoreObserver(registry)
        build = gauge("flowmachine_build_info", "1; the labels say what runs.", ("version", "machine", "revision"))
        build.labels(version, machine, revision).set(1)
        self._transitions = _Latencies()
        self._outbox = _Outbox()
        self._sagas = _SagasByState("flowmachine_sagas", "Sagas that this engine has, by state.")
        self._sagas_held = _SagasByState(
            "flowmachine_sagas_held", "Sagas that wait: a hook failed, or the machine does not know their state."
        )
        for collector in (self._transitions, self._outbox, self._sagas, self._sagas_held):
            registry.register(collector)
        self._state_children: dict[tuple[str, str], prometheus_client.Counter] = {}
        self._input_children: dict[str, prometheus_client.Counter] = {}
        self._phases: dict[int, Phase] = {}

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)

    def phase_changed(self, partition: int, phase: Phase) -> None:
        """A released partition has no phase here any more: it is another engine's."""
        before = self._phases.get(partition)
        if before is not None and before is not Phase.RELEASED:
            self._phase.remove(str(partition), before.value)
        self._phases[partition] = phase
        if phase is not Phase.RELEASED:
            self._phase.labels(str(partition), phase.value).set(1)
        if phase not in HOLDING:
            if before in HOLDING:
                self._lag.remove(str(partition))
            self._sagas.by_partition.pop(partition, None)
            self._sagas_held.by_partition.pop(partition, None)

    def committed(self, partition: int, plan: BatchPlan, seconds: float, at_ms: int) -> None:
        """Count what a transaction has made visible."""
        self._transaction_seconds.observe(seconds)
        self._transitions.observe(plan.moved_at_ms, at_ms)
        for entered, count in plan.entered.items():
            child = self._state_children.get(entered)
            if child is None:
                child = self._state_children[entered] = self._states.labels(*entered)
            child.inc(count)
        for outcome, count in plan.outcomes.items():
            child = self._input_children.get(outcome)
            if child is None:
                child = self._input_children[outcome] = self._inputs.labels(outcome.value)
            child.inc(count)
        if plan.forwarded:
            self._forwarded.inc(plan.forwarded)
        for failed in plan.failed_hooks:
            self._hooks_failed.labels(failed.state, failed.failure.command or "").inc()

    def transaction_failed(self, partition: int, code: str) -> None:
        """A partition starts again."""
        self._transactions_failed.labels(code).inc()

    def restored(self, partition: int, records: int, seconds: float) -> None:
        """A restore is done."""
        self._restored_records.inc(records)
        self._restore_seconds.observe(seconds)

    def sagas_counted(self, partition: int, by_state: Mapping[str, int], held_by_state: Mapping[str, int]) -> None:
        """Keep a partition's live counts; what a partition that is on its way out says is left aside."""
        if self._phases.get(partition) in HOLDING:
            self._sagas.by_partition[partition] = by_state
            self._sagas_held.by_partition[partition] = held_by_state

    def lagged(self, partition: int, records: int) -> None:
        """Of a partition that this engine has."""
        if self._phases.get(partition) in HOLDING:
            self._lag.labels(str(partition)).set(records)

    def outbox_counted(self, commands: Mapping[tuple[str, str], int]) -> None:
        """Keep the live count."""
        self._outbox.commands = commands

    def command_sent(self, channel: str, outcome: str) -> None:
        """An attempt to deliver a command over HTTP has ended."""
        self._commands.labels(channel, outcome).inc()


class _Latencies(Collector):
    """A histogram that takes a whole batch at once: 1,000 values cost about as much as ten of the library's own."""

    def __init__(self) -> None:
        self._bounds = [(str(bound), int(bound * 1000)) for bound in TRANSITION_BUCKETS]
        self._counts = [0] * len(self._bounds)
        self._count = 0
        self._sum_ms = 0

    def observe(self, times_ms: Sequence[int], at_ms: int) -> None:
        """Count how long before `at_ms` each time was; what another clock puts behind it was just now."""
        times = sorted(times_ms)
        for position, (_, bound_ms) in enumerate(self._bounds):
            self._counts[position] += len(times) - bisect_left(times, at_ms - bound_ms)
        self._count += len(times)
        self._sum_ms += max(0, at_ms * len(times) - sum(times))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        buckets = [(name, count) for (name, _), count in zip(self._bounds, self._counts, strict=True)]
        family = HistogramMetricFamily(
            "flowmachine_transition_seconds",
            "From the time of a record that made or moved a saga to the end of its transaction.",
        )
        family.add_metric([], [*buckets, ("+Inf", self._count)], self._sum_ms / 1000)
        yield family


class _Outbox(Collector):
    """Commands over HTTP that nobody has answered."""

    def __init__(self) -> None:
        self.commands: Mapping[tuple[str, str], int] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "flowmachine_outbox", "Commands over HTTP that no 2xx has answered.", labels=["channel", "waits_for"]
        )
        for labels, count in sorted(self.commands.items()):
            family.add_metric(labels, count)
        yield family


class _SagasByState(Collector):
    """Sums up the partitions' counts when asked."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self.by_partition: dict[int, Mapping[str, int]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        total: Counter[str] = Counter()
        for by_state in self.by_partition.values():
            total.update(by_state)
        family = GaugeMetricFamily(self._name, self._documentation, labels=["state"])
        for state, count in sorted(total.items()):
            family.add_metric([state], count)
        yield family
