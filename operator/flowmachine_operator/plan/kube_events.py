"""What is told on the resource. An event is about a change of the status, so looking again tells nothing twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.plan.conditions import Condition

NOTE_LENGTH_MAX: Final = 1024
"""The API server takes no longer message in an event."""


@dataclass(frozen=True, slots=True)
class KubeEvent:
    """One event."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


def plan_kube_events(
    before: Iterable[Condition], after: Iterable[Condition], *, old_status: Manifest, new_status: Manifest
) -> tuple[KubeEvent, ...]:
    """The events for a change of the status; none for a change of numbers in a message only."""
    old = {condition.type: condition for condition in before}
    new = {condition.type: condition for condition in after}
    events: list[KubeEvent] = []
    ready, stalled = new["Ready"], new["Stalled"]
    if "Ready" not in old or old["Ready"].reason != ready.reason:
        events.append(_event(ready, is_warning=stalled.status == "True"))
    for name in ("KafkaReachable", "PartitionsAligned", "StoreReady"):
        was = old[name].status if name in old else "Unknown"
        if new[name].status == "False" and was != "False" and new[name].reason != ready.reason:
            events.append(_event(new[name], is_warning=True))
    replicas, wanted = old_status.get("replicas"), new_status["replicas"]
    if isinstance(replicas, int) and replicas != wanted:
        events.append(KubeEvent("Normal", "Scaled", f"from {replicas} to {wanted} engines"))
    revision = new_status.get("revision")
    if old_status.get("revision") not in (None, revision):
        events.append(KubeEvent("Normal", "Revision", f"engines change from {old_status['revision']} to {revision}"))
    return tuple(events)


def _event(condition: Condition, *, is_warning: bool) -> KubeEvent:
    return KubeEvent("Warning" if is_warning else "Normal", condition.reason, condition.message[:NOTE_LENGTH_MAX])
