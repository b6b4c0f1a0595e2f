"""HTTP: how many sagas per second `POST /saga` creates, and how long an answer takes.

An answer means that the creation is safe in the log. Meanwhile the engine sends the first commands of these sagas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.errors import RoundFailedError
from bench.figures import Figure, median_of
from bench.lab import Lab
from bench.latency import quantile
from bench.processes import run_load
from bench.programs import engine_topics, start_engine
from bench.sizes import Sizes

CONNECTIONS = 64
_EXTRA_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class HttpRound:
    """What one round says."""

    connections: int
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    broker_age_seconds: float


async def measure_http(lab: Lab, *, seconds: int, warm_seconds: int, rounds: int) -> list[HttpRound]:
    """Rounds with an engine of their own."""
    results: list[HttpRound] = []
    for number in range(1, rounds + 1):
        age = lab.broker_age_seconds
        async with engine_topics(lab) as (_, engine):
            await start_engine(engine)
            arguments = {
                "port": urlsplit(engine.url).port,
                "connections": CONNECTIONS,
                "seconds": seconds,
                "warm-seconds": warm_seconds,
            }
            said = await run_load("bench.http_load", arguments, seconds_max=seconds + warm_seconds + _EXTRA_SECONDS_MAX)
            if not engine.is_running:
                raise RoundFailedError("the engine ended within an HTTP round")
        latencies = sorted(said["latencies_ms"])
        result = HttpRound(
            CONNECTIONS, said["requests_per_second"], quantile(latencies, 0.5), quantile(latencies, 0.99), age
        )
        results.append(result)
        lab.say(f"http {number}/{rounds}: {result.requests_per_second:,.0f} sagas/s, p99 {result.p99_ms:.1f} ms")
    return results


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    seconds, warm_seconds = sizes.latency_seconds, sizes.latency_warm_seconds
    return build_figures(await measure_http(lab, seconds=seconds, warm_seconds=warm_seconds, rounds=sizes.rounds))


def build_figures(rounds: Sequence[HttpRound]) -> list[Figure]:
    """Creations over HTTP, and how long an answer takes."""
    load = "POST /saga"  # short: the table is to fit a terminal
    return [
        median_of("http.rate", load, rounds, "requests_per_second", "sagas/s"),
        median_of("http.p50", f"{load}, p50", rounds, "p50_ms", "ms"),
        median_of("http.p99", f"{load}, p99", rounds, "p99_ms", "ms"),
    ]
