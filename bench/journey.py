"""A whole order at a low rate: from its creation over four events to its end, in both modes of delivery."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import RoundFailedError
from bench.figures import Figure, median_of
from bench.lab import Lab
from bench.latency import Pace, pace_of, quantile
from bench.processes import run_load
from bench.programs import engine_topics, start_engine
from bench.sizes import Sizes

Delivery = Literal["exactlyOnce", "atLeastOnce"]
DELIVERIES: tuple[Delivery, ...] = ("exactlyOnce", "atLeastOnce")
_EXTRA_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True)
class JourneyRound:
    """What one round says."""

    delivery: Delivery
    p50_ms: float
    p99_ms: float
    max_ms: float
    sagas: int
    broker_age_seconds: float


async def run_journey_round(lab: Lab, pace: Pace, delivery: Delivery) -> JourneyRound:
    """Orders at the pace's rate (an order counts as one of its events), until each has ended."""
    age = lab.broker_age_seconds
    async with engine_topics(lab, settings={"delivery": delivery}) as (names, engine):
        await start_engine(engine)
        arguments = {
            "bootstrap": lab.bootstrap,
            "intake": names.intake,
            "events": names.events,
            "commands": names.commands,
            "sagas": names.sagas,
            "rate": pace.events_per_second,
            "seconds": pace.seconds,
            "warm-seconds": pace.warm_seconds,
        }
        seconds_max = pace.seconds + pace.warm_seconds + _EXTRA_SECONDS_MAX
        said = await run_load("bench.journey_load", arguments, seconds_max=seconds_max)
        if not engine.is_running:
            raise RoundFailedError("the engine ended within a journey round")
        await asyncio.to_thread(engine.terminate)
    latencies = sorted(said["latencies_ms"])
    return JourneyRound(
        delivery, quantile(latencies, 0.5), quantile(latencies, 0.99), latencies[-1], len(latencies), age
    )


async def measure_journey(lab: Lab, pace: Pace, *, rounds: int) -> list[JourneyRound]:
    """Rounds of both modes in turn."""
    results: list[JourneyRound] = []
    for number in range(1, rounds + 1):
        for delivery in DELIVERIES:
            result = await run_journey_round(lab, pace, delivery)
            results.append(result)
            lab.say(f"journey {number}/{rounds}, {delivery}: p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms")
    return results


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    pace = pace_of(sizes, sizes.journey_sagas_per_second)
    return build_figures(await measure_journey(lab, pace, rounds=sizes.rounds))


def build_figures(rounds: Sequence[JourneyRound]) -> list[Figure]:
    """Quantiles of whole orders, by the mode of delivery."""
    return [
        median_of(
            f"journey.{delivery}_{quantile}",
            f"whole saga, {delivery}, {quantile}",
            [one for one in rounds if one.delivery == delivery],
            f"{quantile}_ms",
            "ms",
        )
        for delivery in DELIVERIES
        for quantile in ("p50", "p99")
    ]
