"""`simulate(seed)`: a time of faults, a time of peace, the judgement."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tests.simulation.faults import Faults
from tests.simulation.judge import find_faults, why_not_forgotten, why_not_settled
from tests.simulation.services import Services
from tests.simulation.world import World

SAGAS_MAX = 8
FAULT_SECONDS_MAX = 20.0
PEACE_SECONDS_MAX = 240.0
"""How long it may take until all has come right: sessions, transactions and pauses between tries add up to a minute."""
BURSTS, BURST_INPUTS = 12, 10
OBLIVION_SECONDS_MAX = 60.0
"""How late a saga may be forgotten, after answers were lost."""
QUIET_SECONDS = 6
"""Longer than a client waits for an answer: what is done may not be known yet to whoever asked for it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a seed; no problems: all guarantees held."""

    seed: int
    problems: tuple[str, ...]
    history: tuple[tuple[float, str, str], ...]
    text: str

    def __str__(self) -> str:
        problems = "\n".join(f"  {problem}" for problem in self.problems)
        found = f"seed {self.seed}: {len(self.problems)} problems\n{problems}"
        return f"{self.text}\n\n{found}\nAgain: make simulate SEED={self.seed}"


def simulate(seed: int) -> Outcome:
    """Run one seed to its end."""
    world = World(seed)
    problems: list[str] = []

    async def main() -> None:
        problems.extend(await _live(world))

    world.run(main)
    return Outcome(seed, tuple(problems), tuple(world.history.lines), world.history.render())


async def _live(world: World) -> list[str]:
    services = Services(world)
    services.is_notify_down = world.forgets and world.random.random() < 0.5
    services.start()
    for host in world.hosts:
        host.start()
    faults = Faults(world, services)
    striking = world.start(faults.run())
    clients = []
    sagas = world.random.randint(1, SAGAS_MAX)
    rest = world.random.uniform(3.0, FAULT_SECONDS_MAX)
    for _ in range(sagas):
        clients.append(world.start(services.create()))
        pause = world.random.random() * rest / sagas
        await asyncio.sleep(pause)
        rest -= pause
    await asyncio.sleep(rest)
    striking.cancel()
    faults.heal()
    world.history.note("world", "peace")
    left = await _settle(world, services, faults, clients)
    if world.forgets and not left:
        left = await _forget(world, services, faults)
    if left:
        return [f"after {PEACE_SECONDS_MAX:.0f} s without faults: {left}", *world.failures]
    for client in clients:
        client.result()
    return await find_faults(world, services)


async def _settle(world: World, services: Services, faults: Faults, clients: "Sequence[asyncio.Task[None]]") -> str:
    """Wait until all has come right, and is quiet; what is still to come if it takes too long."""
    deadline = world.loop.time() + PEACE_SECONDS_MAX
    quiet = 0
    while quiet < QUIET_SECONDS:
        await asyncio.sleep(1.0)
        faults.restart_ended()
        left = why_not_settled(world, services) or ("" if all(map(asyncio.Task.done, clients)) else "clients wait")
        quiet = 0 if left else quiet + 1
        if world.loop.time() > deadline:
            return left
    return ""


async def _forget(world: World, services: Services, faults: Faults) -> str:
    """Wait until what has finished is forgotten; what waits for its endpoint must not be until it has been taken."""
    oblivion_seconds = (world.retention_ms + 2 * world.clock_jump_ms_max) / 1000 + QUIET_SECONDS
    world.history.note("world", f"waits {oblivion_seconds:.0f} s until sagas are forgotten")
    await _wait_busily(world, services, oblivion_seconds)
    if services.is_notify_down:
        services.is_notify_down = False
        left = await _settle(world, services, faults, ())
        if left:
            return left
        await _wait_busily(world, services, oblivion_seconds)
    deadline = world.loop.time() + OBLIVION_SECONDS_MAX
    while left := why_not_forgotten(world):
        if world.loop.time() > deadline:
            return left
        await asyncio.sleep(1.0)
    world.random.choice(world.hosts).kill()  # the one that takes its place reads what has been forgotten
    services.send_late_events()
    return await _settle(world, services, faults, ())


async def _wait_busily(world: World, services: Services, seconds: float) -> None:
    """As long, with inputs now and then, and answers that get lost, in the time when sagas are forgotten."""
    busy_seconds = min(seconds, 4 * world.clock_jump_ms_max / 1000)
    await asyncio.sleep(seconds - busy_seconds)
    for host in world.hosts:
        host.network.lost_answers = world.random.choice((0.0, 0.1))
    for _ in range(BURSTS):
        await asyncio.sleep(busy_seconds / BURSTS)
        for _ in range(BURST_INPUTS):
            services.send_junk()
    for host in world.hosts:
        host.network.heal()
