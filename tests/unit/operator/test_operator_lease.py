import pytest

from flowmachine_operator.plan.lease import LeaseDecision, SeenLease, plan_lease


def seen(holder: str, *, seconds: float = 100.0) -> SeenLease:
    return SeenLease(holder, "7", 12, seconds)


@pytest.mark.parametrize(
    ("lease", "now", "decision"),
    [
        (None, 100.0, LeaseDecision.CREATE),
        (seen("me"), 100.0, LeaseDecision.RENEW),
        (seen("me"), 500.0, LeaseDecision.RENEW),
        (seen(""), 100.0, LeaseDecision.TAKE),
        (seen("other"), 111.9, LeaseDecision.WAIT),
        (seen("other"), 112.0, LeaseDecision.TAKE),
    ],
)
def test_lease_decision(lease: SeenLease | None, now: float, decision: LeaseDecision) -> None:
    assert plan_lease(lease, identity="me", now_seconds=now) is decision
