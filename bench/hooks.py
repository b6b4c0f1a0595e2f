"""Hooks: what it costs to make a command's payload, by a JavaScript hook and by an expression."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench.figures import Figure
from bench.lab import Say
from bench.sizes import Sizes
from bench.workload import PAID, rehearse
from flowmachine.adapters.javascript import JavaScriptHooks
from flowmachine.config.expressions import build_expression
from flowmachine.core.definition import PayloadBuilder, SagaId
from flowmachine.wire.record import decode_saga

_HOOK = "export default ({saga}) => ({payload: {orderId: saga.associatedEntityId, items: saga.metadata.items}})"
_EXPRESSION = "{'orderId': saga.associatedEntityId, 'items': saga.metadata.items}"
_PASSES = 5


@dataclass(frozen=True, slots=True)
class HookRound:
    """The median of a few passes."""

    kind: str
    calls: int
    microseconds_per_call: float


def measure_hooks(say: Say, *, calls: int) -> list[HookRound]:
    """For an order in the middle of its life, whose history the hook gets as well."""
    builders = {
        "javascript": JavaScriptHooks().build_payload(_HOOK, "prepareOrder"),
        "expression": build_expression(_EXPRESSION, "prepareOrder"),
    }
    results = [HookRound(kind, calls, _measure(build, calls)) for kind, build in builders.items()]
    for result in results:
        say(f"hooks, {result.kind}: {result.microseconds_per_call:.1f} us per call")
    return results


def _measure(build: PayloadBuilder, calls: int) -> float:
    saga_id, saga = SagaId("order-0042"), decode_saga(rehearse()[PAID].saga)
    build(saga_id, saga)
    passes: list[float] = []
    for _ in range(_PASSES):
        began = time.perf_counter()
        for _ in range(calls):
            build(saga_id, saga)
        passes.append((time.perf_counter() - began) / calls * 1e6)
    return median(passes)


async def run(sizes: Sizes, say: Say) -> list[Figure]:
    """Measure, as figures."""
    return build_figures(measure_hooks(say, calls=sizes.hook_calls))


def build_figures(rounds: Sequence[HookRound]) -> list[Figure]:
    """What making one payload costs."""
    return [
        Figure(f"hooks.{one.kind}", f"a payload by {one.kind}", one.microseconds_per_call, "us", (asdict(one),))
        for one in rounds
    ]
