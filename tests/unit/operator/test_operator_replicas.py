"""How many engines run: the table of the module, and laws over all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.config.resource import Scaling
from flowmachine_operator.plan.replicas import ReplicaPlan, ReplicaReason, plan_replicas


@pytest.mark.parametrize(
    ("partitions", "scaling", "current", "expected"),
    [
        (4, {}, None, (4, ReplicaReason.PARTITIONS, 0)),
        (4, {"maxReplicas": 3}, None, (3, ReplicaReason.CAPPED, 0)),
        (4, {"maxReplicas": 4}, None, (4, ReplicaReason.PARTITIONS, 0)),
        (4, {"replicas": 0}, 4, (0, ReplicaReason.PAUSED, 0)),
        (4, {"replicas": 6, "maxReplicas": 2}, 1, (6, ReplicaReason.FIXED, 2)),
        (None, {"replicas": 2}, None, (2, ReplicaReason.FIXED, 0)),
        (None, {}, None, (0, ReplicaReason.WAITING, 0)),
        (None, {}, 0, (0, ReplicaReason.WAITING, 0)),
        (None, {}, 5, (5, ReplicaReason.KEPT, 0)),
        (None, {"maxReplicas": 2}, 5, (2, ReplicaReason.CAPPED, 0)),
    ],
)
def test_table_of_replicas(
    partitions: int | None, scaling: dict[str, int], current: int | None, expected: tuple[int, ReplicaReason, int]
) -> None:
    assert plan_replicas(partitions, Scaling.model_validate(scaling), current) == ReplicaPlan(*expected)


counts = st.integers(min_value=1, max_value=4096)
scalings = st.builds(
    Scaling, maxReplicas=st.none() | counts, replicas=st.none() | st.integers(min_value=0, max_value=4096)
)


@given(partitions=st.none() | counts, scaling=scalings, current=st.none() | st.integers(min_value=0, max_value=4096))
def test_plan_keeps_its_promises(partitions: int | None, scaling: Scaling, current: int | None) -> None:
    plan = plan_replicas(partitions, scaling, current)

    assert plan.replicas >= 0
    assert plan.idle <= plan.replicas
    assert (plan.replicas == 0) == (plan.reason in {ReplicaReason.PAUSED, ReplicaReason.WAITING})
    if scaling.replicas is not None:
        assert plan.replicas == scaling.replicas
        return
    if scaling.max_replicas is not None:
        assert plan.replicas <= scaling.max_replicas
    if partitions is None:
        assert plan.replicas <= (current or 0), "nothing grows while Kafka is away"
    else:
        assert 1 <= plan.replicas <= partitions, "an engine without a partition has nothing to do"


@given(partitions=counts, scaling=scalings, current=st.none() | counts)
def test_plan_is_stable_once_it_is_carried_out(partitions: int, scaling: Scaling, current: int | None) -> None:
    plan = plan_replicas(partitions, scaling, current)

    assert plan_replicas(partitions, scaling, plan.replicas) == plan
    if plan.replicas:
        assert plan_replicas(None, scaling, plan.replicas).replicas == plan.replicas, "Kafka's absence changes nothing"
