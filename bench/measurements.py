"""All measurements, by name, in the order in which they run."""

from collections.abc import Awaitable, Callable, Mapping

from bench import (
    growth,
    handover,
    hooks,
    http,
    journey,
    latency,
    loop,
    memory,
    partitions,
    projection,
    rest,
    restore,
    stores,
    throughput,
    users,
    utilization,
)
from bench.figures import Figure
from bench.lab import Lab, Say
from bench.sizes import Sizes

ON_BROKER: Mapping[str, Callable[[Sizes, Lab], Awaitable[list[Figure]]]] = {
    "throughput": throughput.run,
    "partitions": partitions.run,
    "latency": latency.run,
    "utilization": utilization.run,
    "journey": journey.run,
    "loop": loop.run,
    "http": http.run,
    "rest": rest.run,
    "users": users.run,
    "handover": handover.run,
    "projection": projection.run,
    "restore": restore.run,
}
ALONE: Mapping[str, Callable[[Sizes, Say], Awaitable[list[Figure]]]] = {
    "memory": memory.run,
    "hooks": hooks.run,
    "growth": growth.run,
    "stores": stores.run,
}
"""These need no broker."""
MEASUREMENTS = (*ON_BROKER, *ALONE)
