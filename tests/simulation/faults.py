"""What goes wrong: each seed draws which kinds of faults it has, how often they strike, and when."""

import asyncio
from collections.abc import Callable

from tests.simulation.machines import LAST_REVISION, REVISIONS
from tests.simulation.services import Services
from tests.simulation.world import EVENTS, EngineHost, World

CRASH_STEPS_MAX = 400
EVENT_PARTITIONS_MAX = 6


class Faults:
    """Strikes until told to stop; `heal` then undoes what does not undo itself."""

    def __init__(self, world: World, services: Services) -> None:
        self._world = world
        self._services = services
        self.is_over = False
        kinds: list[Callable[[EngineHost], float]] = [
            self._crash,
            self._crash,
            self._kill,
            self._stop,
            self._pause,
            self._evict,
            self._evict,
            self._cut,
            self._lose_requests,
            self._lose_answers,
            self._refuse,
            self._slow,
            self._jump_clock,
            self._add_partition,
            self._endpoint_down,
            self._slow_endpoint,
            self._junk,
        ]
        kinds += [self._update, self._update] if world.is_updated else []
        kinds += [self._break_hooks, self._break_hooks] if world.hooks is not None else []
        random = world.random
        self._kinds = random.sample(kinds, random.randint(1, len(kinds)))
        self._pause_seconds = random.choice((0.1, 0.3, 1.0))

    async def run(self) -> None:
        """Strike again and again."""
        random = self._world.random
        while True:
            await asyncio.sleep(random.expovariate(1 / self._pause_seconds))
            host = random.choice(self._world.hosts)
            kind = random.choice(self._kinds)
            seconds = kind(host)
            self._world.history.note("fault", f"{kind.__name__.strip('_')} {host.address} for {seconds:.1f} s")

    def heal(self) -> None:
        """From now on all is well."""
        self.is_over = True
        self._services.is_endpoint_down = False
        self._services.duplicates = 0.0
        self._world.endpoint_seconds = 0.0
        if self._world.hooks is not None:
            self._world.hooks.failing = 0.0
        for host in self._world.hosts:
            host.network.heal()
            host.resume()
            if host.process is not None:
                host.process.crash_after = None
        self._finish_update()
        self.restart_ended()

    def _finish_update(self) -> None:
        """Everybody gets the last revision; and starts anew where hooks have failed, which are then tried again."""
        for host in self._world.hosts:
            host.revision = LAST_REVISION
            is_hook_due = self._world.hooks is not None and self._world.hooks.has_failed
            if host.engine is None or not host.is_up:
                continue
            if is_hook_due or host.engine.machine.revision != LAST_REVISION:
                host.engine.stop()

    def restart_ended(self) -> None:
        """Start what does not run, as Kubernetes does."""
        for host in self._world.hosts:
            if not host.is_up:
                host.start()

    # --- kinds: each strikes, sees to its own end, and returns how long it takes --------------------------------------

    def _draw_seconds(self, most: float) -> float:
        return self._world.random.random() ** 2 * most

    def _later(self, seconds: float, undo: Callable[[], None]) -> float:
        self._world.loop.call_later(seconds, lambda: None if self.is_over else undo())
        return seconds

    def _restart_later(self, host: EngineHost, most: float) -> float:
        return self._later(self._draw_seconds(most), lambda: None if host.is_up else host.start())

    def _crash(self, host: EngineHost) -> float:
        """Dies at one of its next awaits, whichever it is."""
        seconds = self._draw_seconds(15.0)
        if host.process is not None:
            host.process.crash_after = self._world.random.randint(0, CRASH_STEPS_MAX)
            host.process.on_crash = lambda: self._crashed(host, seconds)
        return seconds

    def _crashed(self, host: EngineHost, seconds: float) -> None:
        self._world.history.note(host.address, "crashed")
        self._later(seconds, lambda: None if host.is_up else host.start())

    def _kill(self, host: EngineHost) -> float:
        host.kill()
        return self._restart_later(host, 15.0)

    def _stop(self, host: EngineHost) -> float:
        if host.is_up and host.engine is not None:
            host.engine.stop()
        return self._restart_later(host, 8.0)

    def _pause(self, host: EngineHost) -> float:
        if host.process is not None:
            host.process.is_paused = True
        return self._later(self._draw_seconds(40.0), host.resume)

    def _evict(self, host: EngineHost) -> float:
        """The group gives its partitions to others before it knows: for a moment there are two owners."""
        self._world.broker.group.leave(host.address)
        return 0.0

    def _cut(self, host: EngineHost) -> float:
        host.network.is_cut = True
        return self._later(self._draw_seconds(25.0), host.network.heal)

    def _lose_requests(self, host: EngineHost) -> float:
        host.network.lost_requests = self._world.random.choice((0.02, 0.1, 0.3))
        return self._later(self._draw_seconds(20.0), host.network.heal)

    def _lose_answers(self, host: EngineHost) -> float:
        host.network.lost_answers = self._world.random.choice((0.02, 0.1, 0.3))
        return self._later(self._draw_seconds(20.0), host.network.heal)

    def _refuse(self, host: EngineHost) -> float:
        host.network.refused = self._world.random.choice((0.02, 0.1, 0.3))
        return self._later(self._draw_seconds(20.0), host.network.heal)

    def _slow(self, host: EngineHost) -> float:
        host.network.latency_seconds = self._world.random.choice((0.05, 0.3, 2.0))
        return self._later(self._draw_seconds(20.0), host.network.heal)

    def _jump_clock(self, host: EngineHost) -> float:
        host.skew_ms = self._world.random.randint(-self._world.clock_jump_ms_max, self._world.clock_jump_ms_max)
        return 0.0

    def _add_partition(self, _: EngineHost) -> float:
        count = len(self._world.broker.partitions[EVENTS])
        self._world.broker.create_topic(EVENTS, min(count + 1, EVENT_PARTITIONS_MAX))
        return 0.0

    def _endpoint_down(self, _: EngineHost) -> float:
        self._services.is_endpoint_down = True

        def up() -> None:
            self._services.is_endpoint_down = False

        return self._later(self._draw_seconds(15.0), up)

    def _slow_endpoint(self, _: EngineHost) -> float:
        """It answers late, mostly after the engine has given up and asked again."""
        self._world.endpoint_seconds = self._world.random.choice((3.0, 12.0))

        def hurry() -> None:
            self._world.endpoint_seconds = 0.0

        return self._later(self._draw_seconds(15.0), hurry)

    def _update(self, host: EngineHost) -> float:
        """It is replaced by one with another revision, in order or not; the others stay as they are for now."""
        world = self._world
        host.revision = world.random.choice(REVISIONS)
        if world.changes_delivery:
            host.is_direct = world.random.random() < 0.5
        return self._stop(host) if world.random.random() < 0.7 else self._kill(host)

    def _break_hooks(self, _: EngineHost) -> float:
        hooks = self._world.hooks
        assert hooks is not None
        hooks.failing = self._world.random.choice((0.2, 1.0))

        def work() -> None:
            hooks.failing = 0.0

        return self._later(self._draw_seconds(10.0), work)

    def _junk(self, _: EngineHost) -> float:
        self._services.send_junk()
        return 0.0
