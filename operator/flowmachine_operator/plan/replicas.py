"""How many engines run.

| scaling.replicas | partitions | engines                                           | reason     |
|------------------|------------|---------------------------------------------------|------------|
| 0                | any        | 0                                                 | PAUSED     |
| n                | any        | n                                                 | FIXED      |
| not set          | p          | p                                                 | PARTITIONS |
| not set          | p          | maxReplicas, when that is less                    | CAPPED     |
| not set          | unknown    | as many as there are now, at most maxReplicas     | KEPT       |
| not set          | unknown    | 0, when there are none yet                        | WAITING    |
"""

from dataclasses import dataclass, replace
from enum import Enum

from flowmachine.config.resource import Scaling


class ReplicaReason(Enum):
    """Why there are as many engines."""

    PAUSED = "Paused"
    FIXED = "Fixed"
    PARTITIONS = "Partitions"
    CAPPED = "Capped"
    KEPT = "Kept"
    WAITING = "Waiting"


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """How many engines shall run."""

    replicas: int
    reason: ReplicaReason
    idle: int = 0
    """Engines without a partition to work on."""


def plan_replicas(
    partitions: int | None, scaling: Scaling, current: int | None, *, homes: int | None = None
) -> ReplicaPlan:
    """The plan for a machine whose inputs have so many partitions; None: Kafka cannot be asked now.

    `current` is what the Deployment asks for now; None when there is no Deployment. `homes` is the number of home
    partitions, where it is known to differ: they stay what they were when partitions are added to an input.
    """
    assert partitions is None or partitions > 0, "a topic has at least one partition"
    plan = _count(partitions, scaling, current)
    working = partitions if homes is None else homes
    return plan if working is None else replace(plan, idle=max(0, plan.replicas - working))


def _count(partitions: int | None, scaling: Scaling, current: int | None) -> ReplicaPlan:
    if scaling.replicas is not None:
        return ReplicaPlan(scaling.replicas, ReplicaReason.FIXED if scaling.replicas else ReplicaReason.PAUSED)
    known = current if partitions is None else partitions
    if not known:
        return ReplicaPlan(0, ReplicaReason.WAITING)
    if scaling.max_replicas is not None and scaling.max_replicas < known:
        return ReplicaPlan(scaling.max_replicas, ReplicaReason.CAPPED)
    return ReplicaPlan(known, ReplicaReason.KEPT if partitions is None else ReplicaReason.PARTITIONS)
