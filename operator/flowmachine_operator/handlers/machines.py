"""All FlowMachines that are watched: a worker for each, and who is older where two claim the same."""

import asyncio
from collections.abc import Callable

from flowmachine.config.documents import as_object
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.handlers.worker import Worker
from flowmachine_operator.plan.claims import Claims, check_claims, claims_of
from flowmachine_operator.plan.judge import Judgement, judge

Key = tuple[str, str]
"""Namespace and name."""

StartWorker = Callable[[str, str], Worker]


class Machines:
    """Starts a worker when a machine appears, wakes it when something of it changes."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._start_worker: StartWorker | None = None
        self._workers: dict[Key, Worker] = {}
        self._claims: dict[Key, Claims] = {}
        self._judged: dict[Key, tuple[tuple[object, object], Judgement]] = {}

    def start_with(self, start_worker: StartWorker) -> None:
        """From now on workers are made like this."""
        self._start_worker = start_worker

    def changed(self, machine: Manifest, *, is_gone: bool = False) -> None:
        """A FlowMachine is there, has changed, or has gone."""
        key = _key(machine)
        before = self._claims.get(key)
        if is_gone:
            self._claims.pop(key, None)
            self._judged.pop(key, None)
        else:
            self._remember(key, machine)
        if before is not None and self._claims.get(key) != before:
            self._wake_rivals(before)  # what it claimed may be free now
        self.wake(*key)

    def wake(self, namespace: str, name: str) -> None:
        """Something of this machine may have changed."""
        key = (namespace, name)
        worker = self._workers.get(key)
        if worker is None:
            if self._start_worker is None:
                return
            worker = self._workers[key] = self._start_worker(namespace, name)
            self._tasks.create_task(self._run(key, worker), name=f"worker of {namespace}/{name}")
        worker.wake()

    def wake_all(self) -> None:
        """Something that concerns all of them may have changed."""
        for key in list(self._workers):
            self.wake(*key)

    def judge(self, machine: Manifest) -> Judgement:
        """The judgement of a machine, also against older ones."""
        key = _key(machine)
        judged = self._remember(key, machine)
        own = self._claims.get(key)
        if own is None or judged.problems:
            return judged
        problems = check_claims(own, self._claims.values())
        return Judgement(judged.resource, problems, judged.warnings) if problems else judged

    def _remember(self, key: Key, machine: Manifest) -> Judgement:
        """The judgement of the machine alone; made once for each generation, since a large one takes a while."""
        metadata = as_object(machine["metadata"])
        version = (metadata.get("uid"), metadata.get("generation"))
        known = self._judged.get(key)
        if known is not None and known[0] == version:
            return known[1]
        judged = judge(machine)
        self._judged[key] = (version, judged)
        # An invalid machine keeps what it claimed: its engines of the revision before run on.
        if judged.resource is not None:
            claims = claims_of(judged.resource, created=str(metadata.get("creationTimestamp")))
            if claims is None:
                self._claims.pop(key, None)
            else:
                self._claims[key] = claims
        return judged

    def _wake_rivals(self, claims: Claims) -> None:
        for key, other in self._claims.items():
            if key in self._workers and check_claims(other, [claims]):
                self.wake(*key)

    async def _run(self, key: Key, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            if self._workers.get(key) is worker:
                del self._workers[key]


def _key(machine: Manifest) -> Key:
    metadata = as_object(machine["metadata"])
    return str(metadata["namespace"]), str(metadata["name"])
