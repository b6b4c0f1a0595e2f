"""The loop's promises: time that costs nothing, orders that come from the seed, processes that die and wait."""

import asyncio
from random import Random

from tests.simulation.loop import NOBODY, Process, SimulatedLoop


async def count(ticks: list[str], name: str, *, seconds: float = 1.0) -> None:
    try:
        while True:
            await asyncio.sleep(seconds)
            ticks.append(name)
    finally:
        ticks.append(f"{name} cleans up")


def run(loop: SimulatedLoop, seconds: float) -> None:
    loop.run_until_complete(loop.create_task(asyncio.sleep(seconds), context=NOBODY.copy()))


def close(loop: SimulatedLoop, *processes: Process) -> None:
    loop.is_over = True
    for process in processes:
        loop.resume(process)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(loop.create_task(asyncio.wait(left)))  # type: ignore[arg-type]
    loop.close()


def test_a_day_passes_at_once() -> None:
    loop = SimulatedLoop(Random(0))
    run(loop, 86_400.0)
    assert loop.time() == 86_400.0
    loop.close()


def test_a_dead_process_does_not_even_clean_up() -> None:
    loop, ticks, process = SimulatedLoop(Random(0)), list[str](), Process("engine")
    process.spawn(loop, count(ticks, "tick"))
    run(loop, 2.5)
    process.kill()
    run(loop, 10.0)
    assert ticks == ["tick", "tick"]
    close(loop, process)
    assert ticks == ["tick", "tick", "tick cleans up"]


def test_a_paused_process_goes_on_where_it_stood() -> None:
    loop, ticks, process = SimulatedLoop(Random(0)), list[str](), Process("engine")
    process.spawn(loop, count(ticks, "tick"))
    process.is_paused = True
    run(loop, 10.0)
    assert ticks == []
    loop.resume(process)
    run(loop, 2.5)
    assert ticks == ["tick", "tick"]
    close(loop, process)


def test_a_process_dies_after_so_many_steps() -> None:
    loop, ticks, process = SimulatedLoop(Random(0)), list[str](), Process("engine")
    deaths: list[float] = []
    process.on_crash = lambda: deaths.append(loop.time())
    process.spawn(loop, count(ticks, "tick", seconds=1.0))
    run(loop, 1.5)
    process.crash_after = 4  # a sleep takes two: its timer, and the task that it wakes
    run(loop, 10.0)
    assert (ticks, deaths) == (["tick"] * 3, [4.0])
    close(loop, process)


def test_timers_of_one_moment_fire_in_an_order_of_the_seed() -> None:
    def order(seed: int) -> list[int]:
        loop, fired = SimulatedLoop(Random(seed)), list[int]()
        for number in range(6):
            loop.call_later(1.0, fired.append, number)
        run(loop, 2.0)
        loop.close()
        return fired

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) > 1
