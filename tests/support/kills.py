"""kill -9, again and again."""

import asyncio

from dev.engine_process import EngineProcess

KILL_EVERY_SECONDS = 3.0


async def kill_and_restart(engine: EngineProcess, stop: asyncio.Event) -> int:
    """kill -9 a few seconds after it is ready again, until told to stop; leaves it running. Returns how often.

    From readiness, because whoever is never given the time to read back a hundred thousand sagas cannot go on.
    """
    kills = 0
    while not stop.is_set():
        try:
            async with asyncio.timeout(KILL_EVERY_SECONDS):
                await stop.wait()
        except TimeoutError:
            engine.kill()
            kills += 1
            await asyncio.to_thread(engine.start)
    return kills
