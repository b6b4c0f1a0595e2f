"""The status of a FlowMachine, and what the Deployment says about the engines."""

from collections.abc import Mapping
from dataclasses import dataclass

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.resource import FlowMachine
from flowmachine_operator.build.identity import REVISION_LABEL, format_selector
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.plan.conditions import Condition
from flowmachine_operator.plan.facts import EngineFacts, Facts

_FAILURES = (("ReplicaFailure", "True"), ("Progressing", "False"))


@dataclass(frozen=True, slots=True)
class SagaCounts:
    """How many sagas there are."""

    active: int = 0
    finished: int = 0
    held: int = 0
    by_state: tuple[tuple[str, int], ...] = ()

    def to_manifest(self) -> Manifest:
        """As it stands in the status."""
        return {
            "active": self.active,
            "finished": self.finished,
            "held": self.held,
            "byState": dict(self.by_state),
        }


def count_sagas(resource: FlowMachine, by_state: Mapping[str, int]) -> SagaCounts:
    """The counts by what the states are in this machine: one that it does not have holds its sagas."""
    final = {state.id: state.is_final for state in resource.spec.machine.states}
    return SagaCounts(
        active=sum(count for state, count in by_state.items() if not final.get(state, False)),
        finished=sum(count for state, count in by_state.items() if final.get(state, False)),
        held=sum(count for state, count in by_state.items() if state not in final),
        by_state=tuple(sorted((state, count) for state, count in by_state.items() if count)),
    )


def read_engines(deployment: Manifest | None) -> EngineFacts:
    """What the Deployment says; nothing about an older version of itself counts as about this one."""
    if deployment is None:
        return EngineFacts()
    status = as_object(deployment.get("status"))
    is_current = _whole(status.get("observedGeneration")) >= _whole(as_object(deployment["metadata"]).get("generation"))
    failures = [
        f"{item.get('message') or item.get('reason')}"
        for item in map(as_object, as_array(status.get("conditions")))
        if is_current and (item.get("type"), item.get("status")) in _FAILURES
    ]
    return EngineFacts(
        ready=_whole(status.get("readyReplicas")),
        updated=_whole(status.get("updatedReplicas")) if is_current else 0,
        total=_whole(status.get("replicas")),
        failure="; ".join(failures),
    )


def read_replicas(deployment: Manifest | None) -> int | None:
    """What the Deployment asks for; None when there is none."""
    return None if deployment is None else _whole(as_object(deployment.get("spec")).get("replicas"))


def build_status(
    facts: Facts,
    conditions: tuple[Condition, ...],
    *,
    machine: str,
    deployment: Manifest | None,
    sagas: object,
) -> Manifest:
    """The whole status. `sagas` is what stands there about them, or shall."""
    template = as_object(as_object(as_object(deployment).get("spec")).get("template"))
    revision = as_object(as_object(template.get("metadata")).get("labels")).get(REVISION_LABEL)
    status: Manifest = {
        "observedGeneration": facts.generation,
        "conditions": [condition.to_manifest() for condition in conditions],
        "replicas": facts.replicas.replicas,
        "readyReplicas": facts.engines.ready,
        "selector": format_selector(machine),
    }
    optional = {"partitions": facts.kafka.home_partitions, "revision": revision, "sagas": sagas}
    return {**status, **{name: value for name, value in optional.items() if value is not None}}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
