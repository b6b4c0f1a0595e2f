from typing import Any

import pytest

from flowmachine.config.expressions import build_expression, check_expression
from flowmachine.core.definition import HookError, SagaId
from tests.support.builders import SAGA_ID, event, order_machine, saga_after

SAGA = saga_after(order_machine(), event("paymentExecuted"), metadata={"total": 12.5, "lines": [{"n": 1}, {"n": 2}]})


def evaluate(text: str) -> Any:
    assert check_expression(text) is None
    return build_expression(text, "prepareOrder")(SagaId(SAGA_ID), SAGA)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("{'id': saga.sagaId, 'for': saga.associatedEntityId}", {"id": SAGA_ID, "for": "entity-1"}),
        ("{'label': messageLabel, 'gross': saga.metadata.total * 1.2}", {"label": "prepareOrder", "gross": 15.0}),
        ("{'all': saga.metadata.lines.map(line, line.n)}", {"all": [1, 2]}),
        ("{'rest': has(saga.metadata.rest) ? saga.metadata.rest : null}", {"rest": None}),
        ("{'steps': size(saga.history.events), 'first': saga.history.events[0].event}",
         {"steps": 2, "first": "__created__"}),
        ("saga.metadata", {"total": 12.5, "lines": [{"n": 1}, {"n": 2}]}),
    ],
)  # fmt: skip
def test_expression_makes_the_payload(text: str, payload: dict[str, Any]) -> None:
    assert evaluate(text) == payload


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'a': saga.metadata.none}", "there is no field 'none'"),
        ("{'a': saga.metadata.total * 2}", "float * int"),
        ("[1]", "gives no map"),
        ("{'a': timestamp('2020-01-01T00:00:00Z')}", "gives a datetime"),
        ("{1: 2}", "keys that are no texts"),
        ("{'a': 1.0 / 0.0}", "gives a float"),
    ],
)
def test_expression_that_fails_says_why(text: str, reason: str) -> None:
    with pytest.raises(HookError) as caught:
        evaluate(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{'a'", "is no CEL expression"),
        ("order.total", "names 'order'"),
        ("{'a': now()}", "calls 'now', which is no function of CEL"),
        ("{'a': saga.lines.map(line, other.n)}", "names 'other'"),
        ("(" * 2000 + "1" + ")" * 2000, "is no CEL expression"),
    ],
)
def test_expression_is_judged_before_it_runs(text: str, reason: str) -> None:
    assert reason in (check_expression(text) or "")
