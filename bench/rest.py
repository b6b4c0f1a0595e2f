"""REST channel: commands per second to an endpoint that takes 50 ms for each, with more or fewer requests at a time.

Orders are created, all in one transaction, and wait then; the command of each goes out through its outbox, which is in
the saga's record: an order costs the record of its creation, the request, and the record without the command.
"""

import json
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from bench.broker import append
from bench.counting import follow_count, rate_of
from bench.errors import RoundFailedError
from bench.figures import Figure, median_of
from bench.lab import Lab
from bench.processes import cpu_seconds, open_service
from bench.programs import engine_topics, start_engine
from bench.sizes import Sizes
from bench.workload import creation_value, lanes
from dev.addresses import LOOPBACK
from flowmachine.wire.intake import CREATE_HEADERS

ANSWER_MS = 50
CONCURRENCIES = (64, 512)
"""Of `settings.rest.concurrencyPerHost`: what it is unless it is set, and enough for the endpoint to be no limit."""
_ROUND_SECONDS_MAX = 300.0
_ANSWER_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class RestRound:
    """What one round says."""

    concurrency: int
    commands_per_second: float
    """Answered, between 10 and 90 % of all."""
    cpu_seconds_per_1000: float
    """Of the engine, per 1,000 commands, the creation of their sagas among it."""
    commands: int
    answer_ms: int
    broker_age_seconds: float


async def measure_rest(lab: Lab, *, commands: int, rounds: int) -> list[RestRound]:
    """Rounds with an engine of their own."""
    results: list[RestRound] = []
    for concurrency in CONCURRENCIES:
        for number in range(1, rounds + 1):
            result = await _run_round(lab, concurrency, commands)
            results.append(result)
            lab.say(f"rest {number}/{rounds}, {concurrency} at a time: {result.commands_per_second:,.0f} commands/s")
    return results


async def _run_round(lab: Lab, concurrency: int, commands: int) -> RestRound:
    age = lab.broker_age_seconds
    settings = {"rest": {"concurrencyPerHost": concurrency}}
    with open_service("bench.endpoint", **{"answer-ms": ANSWER_MS}) as port:
        url = f"http://{LOOPBACK}:{port}"
        async with engine_topics(lab, settings=settings, endpoint={"host": LOOPBACK, "port": port}) as (names, engine):
            await start_engine(engine)
            creations = [((key, creation_value(key)) for key in lane) for lane in lanes(commands)]
            used_before = cpu_seconds(engine.pid)
            await append(lab.bootstrap, names.intake, creations, headers=CREATE_HEADERS, at_once=True)
            samples = await follow_count(
                engine,
                lambda: _read_tally(url)["answered"],
                until=commands,
                seconds_max=_ROUND_SECONDS_MAX,
                what="commands",
            )
            used = cpu_seconds(engine.pid) - used_before
        tally = _read_tally(url)
    if tally != {"answered": commands, "different": commands}:
        raise RoundFailedError(f"of {commands:,} commands the endpoint has answered {tally}")
    return RestRound(concurrency, rate_of(samples), used / commands * 1000, commands, ANSWER_MS, age)


def _read_tally(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url, timeout=_ANSWER_SECONDS_MAX) as answer:  # noqa: S310 - ours
        tally: dict[str, int] = json.loads(answer.read())
    return tally


async def run(sizes: Sizes, lab: Lab) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(await measure_rest(lab, commands=sizes.rest_commands, rounds=sizes.rounds))


def build_figures(rounds: Sequence[RestRound]) -> list[Figure]:
    """Commands over HTTP by how many are under way at a time, and what they cost."""
    figures: list[Figure] = []
    for concurrency in sorted({one.concurrency for one in rounds}):
        of, text = [one for one in rounds if one.concurrency == concurrency], f"{concurrency} at a time"
        figures += [
            median_of(
                f"rest.commands_{concurrency}", f"REST commands, {text}", of, "commands_per_second", "commands/s"
            ),
            median_of(f"rest.engine_cpu_{concurrency}", f"CPU per 1,000, {text}", of, "cpu_seconds_per_1000", "s"),
        ]
    return figures
