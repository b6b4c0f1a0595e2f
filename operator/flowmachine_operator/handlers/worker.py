"""One serial worker per FlowMachine: woken by what changes, and by time.

    woken ──(0.2 s, so that a burst is one)──► pass ──► question ──► asked outside, on its own ──(news)──► woken
      ▲                                          │
      └──── resync_seconds, or sooner after an error

No two passes of one machine run at once, and none waits for Kafka. What is asked outside is asked again every
`facts_seconds`, sooner while something is missing there; an answer that says nothing new wakes nobody.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowmachine.errors import FlowMachineError
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError, NotLeaderError
from flowmachine_operator.metrics import Metrics
from flowmachine_operator.plan.children import ChildOptions
from flowmachine_operator.plan.facts import KafkaAnswer, Outside
from flowmachine_operator.reconcile import Pass, Question, Reconciler

GATHER_SECONDS: Final = 0.2
"""Our own writes come back as events of several kinds within this time."""

SOON_SECONDS: Final = 5.0
"""How soon what is not in hand is looked at again, and what may go away by itself is asked again."""

PAUSES_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""After errors, one after the other; the last one is repeated."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What all workers share."""

    resync_seconds: int
    facts_seconds: int
    slots: asyncio.Semaphore
    """How many passes run at once."""
    questions: asyncio.Semaphore
    """How many questions are under way at once."""


class Worker:
    """Works on one FlowMachine until it is gone."""

    def __init__(
        self,
        namespace: str,
        name: str,
        reconciler: Reconciler,
        options: Callable[[], ChildOptions],
        settings: WorkerSettings,
        metrics: Metrics,
    ) -> None:
        self._reason = ""
        self._namespace = namespace
        self._name = name
        self._reconciler = reconciler
        self._options = options
        self._settings = settings
        self._metrics = metrics
        self._woken = asyncio.Event()
        self._answered: tuple[str, Outside] | None = None
        self._question: Question | None = None
        self._question_changed = asyncio.Event()
        self._pass_due = 0.0
        self._errors = 0

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Until the FlowMachine is gone. Raises NotLeaderError once this operator may not act any more."""
        asking = asyncio.create_task(self._run_questions(), name=f"questions of {self._namespace}/{self._name}")
        try:
            while True:
                await self._sleep()
                self._woken.clear()
                if not await self._pass_once():
                    return
        finally:
            asking.cancel()
            self._count("")

    async def _sleep(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), max(0.0, self._pass_due - time.monotonic()))
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_SECONDS)

    async def _pass_once(self) -> bool:
        """One pass; False when the FlowMachine is gone."""
        async with self._settings.slots:
            started = time.monotonic()
            try:
                done = await self._reconciler.run_pass(self._namespace, self._name, self._options(), self._answered)
            except NotLeaderError:
                raise
            except FlowMachineError as error:
                self._failed(error)
                return True
            except Exception as error:  # noqa: BLE001 - a bug that one machine brings out must not stop the others
                self._failed(error)
                return True
            self._metrics.pass_seconds.observe(time.monotonic() - started)
            self._metrics.passes.labels("gone" if done is None else "done").inc()
        if done is None:
            return False
        self._note(done)
        return True

    def _note(self, done: Pass) -> None:
        self._errors = 0
        self._pass_due = time.monotonic() + (self._settings.resync_seconds if done.is_in_hand else SOON_SECONDS)
        if done.reason:
            self._count(done.reason)
        before, self._question = self._question, done.question
        if (before and before.key) != (done.question and done.question.key):
            self._question_changed.set()

    def _count(self, reason: str) -> None:
        """Keep the number of machines by reason."""
        for changed, step in ((self._reason, -1), (reason, 1)):
            if changed:
                self._metrics.machines.labels(changed).inc(step)
        self._reason = reason

    def _failed(self, error: Exception) -> None:
        pause = PAUSES_SECONDS[min(self._errors, len(PAUSES_SECONDS) - 1)]
        self._errors += 1
        self._pass_due = time.monotonic() + pause
        is_ours = not isinstance(error, FlowMachineError)
        is_expected = isinstance(error, ApiUnavailableError)
        self._metrics.passes.labels("unavailable" if is_expected else "refused" if not is_ours else "bug").inc()
        level = logging.INFO if is_expected and self._errors == 1 else logging.WARNING
        _log.log(
            logging.ERROR if is_ours or isinstance(error, ApiRefusedError) else level,
            "a pass failed and is tried again",
            exc_info=error if is_ours else None,
            extra={"machine": f"{self._namespace}/{self._name}", "reason": str(error), "pause_seconds": pause},
        )

    async def _run_questions(self) -> None:
        """Ask what is the question now, again and again, and at once when it is another one."""
        while True:
            question, seconds = self._question, None
            if question is not None:
                seconds = await self._ask(question)
            try:
                await asyncio.wait_for(self._question_changed.wait(), seconds)
            except TimeoutError:
                continue
            self._question_changed.clear()

    async def _ask(self, question: Question) -> float:
        """Ask once; when to ask again."""
        extra = {"machine": f"{self._namespace}/{self._name}"}
        try:
            async with self._settings.questions:
                answer = await self._reconciler.ask(question)
        except FlowMachineError as error:
            _log.warning("what a machine depends on could not be asked", extra={**extra, "reason": str(error)})
            return SOON_SECONDS
        except Exception:  # noqa: BLE001 - as in `_pass_once`
            _log.exception("asking failed", extra=extra)
            return PAUSES_SECONDS[-1]
        self._metrics.kafka_asked.labels(answer.kafka.answer.value).inc()
        if self._answered != (question.key, answer):
            self._answered = (question.key, answer)
            self._woken.set()
        is_good = answer.kafka.answer is KafkaAnswer.REACHABLE and not answer.kafka.missing_topics
        return self._settings.facts_seconds if is_good else min(SOON_SECONDS, self._settings.facts_seconds)
