"""How much is measured: enough for a figure that repeats, or just enough to see that everything runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The amounts of one run."""

    broker_warm_seconds: float
    """Rounds that count begin when the broker is this old: its JVM compiles what it runs during its first 90 s."""
    warm_up_sagas: int
    """Of one round that does not count; there is at least one such round of each program."""
    rounds: int
    """Of each program."""
    throughput_sagas: int
    """Each brings three events. At least 4,000: with fewer, a saga moves twice in one batch and is written once."""
    latency_events_per_second: int
    utilization_events: int
    """Of the round that finds the maximum."""
    utilization_seconds: int
    utilization_warm_seconds: int
    partition_counts: tuple[int, ...]
    partition_sagas: int
    """Each brings three events. At least 2,000 for each partition, or a saga moves twice in one batch."""
    rest_commands: int
    journey_sagas_per_second: int
    """Each has four events, its creation among them."""
    loop_orders: int
    loop_in_flight: int
    handover_sagas: int
    """Of both partitions. More than events: a round takes one and a half minutes."""
    handover_events_per_second: int
    handover_rounds: int
    latency_seconds: int
    latency_warm_seconds: int
    """At the beginning of each latency round, not counted."""
    memory_sagas: int
    restore_sagas: int
    hook_calls: int
    growth_live: tuple[int, ...]
    projection_events_per_second: int
    projection_seconds: int
    store_sagas: int


FULL = Sizes(
    broker_warm_seconds=90,
    warm_up_sagas=12_000,
    rounds=3,
    throughput_sagas=120_000,
    latency_events_per_second=200,
    utilization_events=100_000,
    utilization_seconds=8,
    utilization_warm_seconds=2,
    partition_counts=(1, 10, 100),
    partition_sagas=200_000,
    rest_commands=15_000,
    journey_sagas_per_second=50,
    loop_orders=100_000,
    loop_in_flight=20_000,
    handover_sagas=100_000,
    handover_events_per_second=200,
    handover_rounds=2,
    latency_seconds=20,
    latency_warm_seconds=5,
    memory_sagas=100_000,
    restore_sagas=1_000_000,
    hook_calls=20_000,
    growth_live=(10_000, 100_000, 1_000_000),
    projection_events_per_second=3_000,
    projection_seconds=20,
    store_sagas=5_000,
)
QUICK = Sizes(
    broker_warm_seconds=0,
    warm_up_sagas=4_000,
    rounds=1,
    throughput_sagas=8_000,
    latency_events_per_second=200,
    utilization_events=20_000,
    utilization_seconds=3,
    utilization_warm_seconds=1,
    partition_counts=(1, 10),
    partition_sagas=10_000,
    rest_commands=3_000,
    journey_sagas_per_second=50,
    loop_orders=20_000,
    loop_in_flight=4_000,
    handover_sagas=20_000,
    handover_events_per_second=100,
    handover_rounds=1,
    latency_seconds=5,
    latency_warm_seconds=2,
    memory_sagas=10_000,
    restore_sagas=10_000,
    hook_calls=2_000,
    growth_live=(2_000, 10_000),
    projection_events_per_second=500,
    projection_seconds=5,
    store_sagas=2_000,
)
