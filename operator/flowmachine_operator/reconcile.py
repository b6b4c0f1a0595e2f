"""One pass over one FlowMachine: look, decide, write what is not as it should be.

1. the FlowMachine and its children are read (`gather`); a FlowMachine that is being deleted goes to `_delete`
2. it is judged, as `flowmachine check` does; an invalid one keeps the children that it has
3. children are written where they are not in step, those that must not exist are deleted (`apply_children`)
4. status and events follow from what was seen

What lies outside (Secrets, Kafka, engines) is asked by the worker on its own time, because Kafka may let us wait. As
long as it has not answered a question, the Deployment and the status stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import aiohttp

from flowmachine.config.documents import as_object
from flowmachine.config.resource import FlowMachine
from flowmachine.errors import ConfigurationError, Problem
from flowmachine_operator.apply import Applier, has_finalizer
from flowmachine_operator.apply_children import apply_children
from flowmachine_operator.build.config_map import build_config_map, config_map_name, encode_document
from flowmachine_operator.build.document import EngineDocument, build_document, literals_name
from flowmachine_operator.build.identity import short_hash
from flowmachine_operator.build.subject import EngineDefaults, Manifest, Subject
from flowmachine_operator.gather import (
    Observed,
    count_pods,
    gather_observed,
    gather_outside,
    gather_secrets,
)
from flowmachine_operator.kafka_facts import remove_topics
from flowmachine_operator.kinds import CONFIG_MAP, DEPLOYMENT
from flowmachine_operator.kube_api import KubeApi
from flowmachine_operator.plan.children import ChildOptions
from flowmachine_operator.plan.conditions import parse_conditions, plan_conditions
from flowmachine_operator.plan.facts import Facts, KafkaFacts, Outside
from flowmachine_operator.plan.judge import Judgement
from flowmachine_operator.plan.kube_events import plan_kube_events
from flowmachine_operator.plan.ownership import Ownership, find_ownership
from flowmachine_operator.plan.prune import plan_prune
from flowmachine_operator.plan.replicas import ReplicaPlan, ReplicaReason, plan_replicas
from flowmachine_operator.plan.status import build_status, count_sagas, read_engines, read_replicas

Judge = Callable[[Manifest], Judgement]
"""Judges a FlowMachine, also against the others."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be asked outside for one machine; another key is another question."""

    key: str
    resource: FlowMachine
    document: EngineDocument
    own_secret: str


@dataclass(frozen=True, slots=True)
class Pass:
    """What came of one pass."""

    reason: str
    """Of the condition Ready; empty when the status was not written."""
    question: Question | None = None
    is_in_hand: bool = True
    """False: look again soon, without anything having changed."""


class Reconciler:
    """Does passes; keeps nothing of a machine between two of them."""

    def __init__(
        self, api: KubeApi, applier: Applier, session: aiohttp.ClientSession, engine: EngineDefaults, judge: Judge
    ) -> None:
        self._api = api
        self._applier = applier
        self._session = session
        self._engine = engine
        self._judge = judge

    async def ask(self, question: Question) -> Outside:
        """The answer to a question."""
        return await gather_outside(
            self._api, self._session, question.resource, question.document, own_secret=question.own_secret
        )

    async def run_pass(
        self, namespace: str, name: str, options: ChildOptions, answered: tuple[str, Outside] | None
    ) -> Pass | None:
        """One pass; None when there is no such FlowMachine. `answered` is the newest answer, and to which question."""
        seen = await gather_observed(self._api, namespace, name, options.kinds)
        if seen is None:
            return None
        if "deletionTimestamp" in as_object(seen.machine["metadata"]):
            return await self._delete(seen, namespace, name)
        judged = self._judge(seen.machine)
        subject, document, problems = self._prepare(judged, seen.machine)
        if subject is None or document is None:
            return await self._report_invalid(seen, problems)
        if await self._applier.apply_finalizer(
            seen.machine, is_wanted=subject.resource.spec.deletion_policy == "Delete"
        ):
            return Pass("", is_in_hand=False)  # the object has changed: look at what it is now
        question = _question(subject, document)
        outside = answered[1] if answered is not None and answered[0] == question.key else None
        return await self._bring_into_step(seen, subject, document, options, question, outside)

    def _prepare(
        self, judged: Judgement, machine: Manifest
    ) -> tuple[Subject | None, EngineDocument | None, tuple[Problem, ...]]:
        if judged.resource is None or judged.problems:
            return None, None, judged.problems
        subject = Subject(judged.resource, str(as_object(machine["metadata"])["uid"]), self._engine)
        document = build_document(subject)
        try:
            build_config_map(subject, document)  # only to learn whether it is too large
        except ConfigurationError as error:
            return None, None, error.problems
        return subject, document, ()

    async def _report_invalid(self, seen: Observed, problems: tuple[Problem, ...]) -> Pass:
        """The children stay as they are: the revision before runs on."""
        deployment = seen.children.get(DEPLOYMENT)
        current = read_replicas(deployment)
        facts = Facts(
            generation=_generation(seen.machine),
            replicas=ReplicaPlan(current or 0, ReplicaReason.KEPT),
            problems=problems,
            engines=read_engines(deployment),
        )
        return await self._report(seen, facts, deployment, sagas=None)

    async def _bring_into_step(
        self,
        seen: Observed,
        subject: Subject,
        document: EngineDocument,
        options: ChildOptions,
        question: Question,
        outside: Outside | None,
    ) -> Pass:
        scaling, current = subject.resource.spec.scaling, read_replicas(seen.children.get(DEPLOYMENT))
        kafka = KafkaFacts() if outside is None else outside.kafka
        replicas = plan_replicas(kafka.partitions, scaling, current, homes=kafka.home_partitions)
        written = await apply_children(self._applier, seen, subject, document, options, replicas, outside)
        if outside is None:
            return Pass("", question)
        engines = read_engines(written.deployment)
        counted = None if outside.sagas is None else count_sagas(subject.resource, outside.sagas)
        facts = Facts(
            generation=_generation(seen.machine),
            replicas=replicas,
            missing_secrets=outside.missing_secrets,
            kafka=kafka,
            engines=engines,
            refusals=written.refusals,
            store=outside.store,
            held_sagas=_held_before(seen) if counted is None else counted.held,
        )
        if written.deployment is not None and not written.refusals:
            is_rolled_out = engines.updated == engines.total == replicas.replicas
            current_name = config_map_name(subject, encode_document(document))
            for old in plan_prune(seen.config_maps, current=current_name, is_rolled_out=is_rolled_out):
                await self._applier.delete_child(CONFIG_MAP, old)
        sagas = None if counted is None else counted.to_manifest()
        done = await self._report(seen, facts, written.deployment, sagas=sagas)
        return replace(done, question=question)

    async def _report(
        self,
        seen: Observed,
        facts: Facts,
        deployment: Manifest | None,
        *,
        sagas: Manifest | None,
    ) -> Pass:
        """Status and events; without `sagas` what is known of them stays."""
        old = as_object(seen.machine.get("status"))
        before = parse_conditions(old)
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        conditions = plan_conditions(facts, before, now=now)
        name = str(as_object(seen.machine["metadata"])["name"])
        status = build_status(facts, conditions, machine=name, deployment=deployment, sagas=sagas or old.get("sagas"))
        if "partitions" not in status and "partitions" in old:
            status["partitions"] = old["partitions"]
        if await self._applier.apply_status(seen.machine, status):
            for event in plan_kube_events(before, conditions, old_status=old, new_status=status):
                await self._applier.create_kube_event(seen.machine, event)
        ready = next(condition for condition in conditions if condition.type == "Ready")
        return Pass(ready.reason, is_in_hand=not facts.refusals)

    async def _delete(self, seen: Observed, namespace: str, name: str) -> Pass:
        """Owner references take the children along, and each engine drains as it ends; topics are ours to remove."""
        if not has_finalizer(seen.machine):
            return Pass("")
        judged = self._judge(seen.machine)
        subject, document, _ = self._prepare(replace(judged, problems=()), seen.machine)
        waits_for = ""
        if subject is not None and document is not None and subject.resource.spec.deletion_policy == "Delete":
            waits_for = await self._delete_topics(seen, subject, document)
        if not waits_for:
            await self._applier.apply_finalizer(seen.machine, is_wanted=False)
            return Pass("")
        deployment = seen.children.get(DEPLOYMENT)
        facts = Facts(
            generation=_generation(seen.machine),
            replicas=ReplicaPlan(0, ReplicaReason.PAUSED),
            engines=read_engines(deployment),
            deletion=waits_for,
        )
        done = await self._report(seen, facts, deployment, sagas=None)
        return replace(done, is_in_hand=False)

    async def _delete_topics(self, seen: Observed, subject: Subject, document: EngineDocument) -> str:
        """First the engines end, then their topics go; what is still waited for, or nothing."""
        deployment = seen.children.get(DEPLOYMENT)
        if (
            deployment is not None
            and find_ownership(deployment, machine=subject.name, uid=subject.uid) is Ownership.OURS
        ):
            await self._applier.delete_child(DEPLOYMENT, deployment)
            return "the engines drain and end"
        if pods := await count_pods(self._api, subject.namespace, subject.name):
            return f"{pods} engines drain and end"
        secrets = await gather_secrets(self._api, subject.namespace, document, own_secret=literals_name(subject))
        reason = (
            f"Secrets are missing: {', '.join(secrets.missing)}"
            if secrets.missing
            else await remove_topics(subject.resource, secrets.data)
        )
        if not reason:
            return ""
        return f"the machine's topics cannot be deleted: {reason}. To keep them, set deletionPolicy: Retain"


def _question(subject: Subject, document: EngineDocument) -> Question:
    key = f"{subject.uid}/{short_hash(encode_document(document))}"
    return Question(key, subject.resource, document, literals_name(subject))


def _generation(machine: Manifest) -> int:
    generation = as_object(machine["metadata"]).get("generation")
    return generation if isinstance(generation, int) else 0


def _held_before(seen: Observed) -> int:
    held = as_object(as_object(seen.machine.get("status")).get("sagas")).get("held")
    return held if isinstance(held, int) else 0
