"""Throughput by the number of partitions that one process has."""

from collections.abc import Sequence

from bench.figures import Figure, median_of, ratio_of
from bench.lab import Lab
from bench.sizes import Sizes
from bench.throughput import PROGRAMS, Amounts, ThroughputRound, measure_throughput


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    amounts = [Amounts(sizes.partition_sagas, partitions=count, is_whole=True) for count in sizes.partition_counts]
    return build_figures(await measure_throughput(lab, amounts, rounds=sizes.rounds))


def build_figures(rounds: Sequence[ThroughputRound]) -> list[Figure]:
    """Rates, their ratio and the cost by the number of partitions that one process has."""
    figures: list[Figure] = []
    for partitions in sorted({one.partitions for one in rounds}):
        engine, bare = (
            [one for one in rounds if one.partitions == partitions and one.program == program] for program in PROGRAMS
        )
        count = "1 partition" if partitions == 1 else f"{partitions} partitions"
        of_engine, of_bare = (
            median_of(f"partitions.{name}_{partitions}", f"{text}, {count}", of, "events_per_second", "events/s")
            for name, text, of in (("engine", "engine", engine), ("passthrough", "pass-through", bare))
        )
        figures += [
            of_engine,
            of_bare,
            ratio_of(f"partitions.ratio_{partitions}", f"ratio, {count}", of_engine, of_bare),
        ]
        figures += [
            median_of(f"partitions.{name}_{partitions}", text, engine, attribute, "s")
            for name, text, attribute in (
                ("engine_cpu", "CPU per 1,000, engine", "cpu_seconds_per_1000"),
                ("engine_broker_cpu", "- broker meanwhile", "broker_cpu_seconds_per_1000"),
            )
        ]
    return figures
