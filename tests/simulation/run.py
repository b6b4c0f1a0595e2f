"""`simulate(seed)`: a time of faults, a time of peace, the judgement."""

import asyncio
from dataclasses import dataclass

from tests.simulation.faults import Faults
from tests.simulation.judge import find_faults, why_not_settled
from tests.simulation.services import Services
from tests.simulation.world import World

SAGAS_MAX = 8
FAULT_SECONDS_MAX = 20.0
PEACE_SECONDS_MAX = 240.0
"""How long it may take until all has come right: sessions, transactions and pauses between tries add up to a minute."""
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
    deadline = world.loop.time() + PEACE_SECONDS_MAX
    quiet = 0
    while quiet < QUIET_SECONDS:
        await asyncio.sleep(1.0)
        faults.restart_ended()
        left = why_not_settled(world, services) or ("" if all(map(asyncio.Task.done, clients)) else "clients wait")
        quiet = 0 if left else quiet + 1
        if world.loop.time() > deadline:
            return [f"after {PEACE_SECONDS_MAX:.0f} s without faults: {left}", *world.failures]
    for client in clients:
        client.result()
    return await find_faults(world, services)
