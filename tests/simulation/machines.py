"""The machine that is simulated, its revisions, and its hooks.

| revision | after `orderPrepared` | knows                |
|----------|-----------------------|----------------------|
| `r1`     | `packing`             | `packing`            |
| `r2`     | `boxing`              | `boxing`             |
| `r3`     | `packing`             | `packing` and `boxing` |

`r1` and `r2` each lack a state of the other, so in an update sagas are held, whichever way it goes; all end under `r3`.
"""

from random import Random
from typing import Any

import msgspec

from flowmachine.core.definition import Command, Customizer, HookError, Machine, Payload, SagaId
from flowmachine.core.merge import UNDEFINED
from flowmachine.core.saga import Saga
from tests.support.builders import command, machine, state, transition

REVISIONS = ("r1", "r2", "r3")
LAST_REVISION = "r3"
_PACKED_IN = {"r1": ("packing",), "r2": ("boxing",), "r3": ("packing", "boxing")}
"""By revision: the states in which an order is packed; the first is where it is packed now."""
PACKED = ("packing", "boxing")
SIDE_COMMAND = "tellWarehouse"
"""Sent beside `packOrder` by machines with hooks; left out where its hook fails."""
COMMANDS_OF_STATES = {
    "paying": ["executePayment"],
    "packing": ["packOrder"],
    "boxing": ["packOrder"],
    "delivering": ["deliverOrder"],
}
"""What a state sends through the log, besides side commands."""
HOOKED_COMMANDS_OF_STATES = COMMANDS_OF_STATES | {"shipping": ["printLabel"]}
"""The same with hooks. Nobody answers `printLabel`: while it is held, events come that must wait."""


class Hooks:
    """Hooks that may fail, as when time or memory runs out: the same call succeeds later."""

    def __init__(self, random: Random) -> None:
        self.failing = 0.0
        """How often a call fails."""
        self.has_failed = False
        self._random = random

    def _call(self) -> None:
        if self.failing and self._random.random() < self.failing:
            self.has_failed = True
            raise HookError("the hook took too long")

    def build(self, saga_id: SagaId, saga: Saga) -> Payload:
        """A command's payload."""
        self._call()
        return {"saga": saga_id, "order": saga.associated_entity_id, "at": saga.updated_at}

    def customize(self, saga_id: SagaId, at_ms: int) -> Customizer:
        """How metadata is merged: as without a hook."""
        del saga_id, at_ms

        def merge(old: Any, new: Any) -> Any:
            del old, new
            self._call()
            return UNDEFINED

        return merge


def shop(revision: str, hooks: Hooks | None) -> Machine:
    """Three commands through the log, one over HTTP, a side command, and three events in a row.

    Without hooks none of the three makes a command. One of them leads back into its state: there, an input that is
    applied twice is no duplicate.
    """
    notify, pack = command("notify", "rest"), command("packOrder")
    beside_packing: list[Command] = []
    label: Command | None = None
    if hooks is not None:
        label = msgspec.structs.replace(command("printLabel"), build=hooks.build)
        beside_packing = [msgspec.structs.replace(command(SIDE_COMMAND), build=hooks.build)]
        notify, pack = (msgspec.structs.replace(each, build=hooks.build) for each in (notify, pack))
    states = [
        state(
            "paying",
            transition("paymentExecuted", "preparing"),
            transition("paymentFailed", "failed"),
            sends=command("executePayment"),
            side_commands=[notify],
        ),
        state(
            "preparing",
            transition("orderPrepared", _PACKED_IN[revision][0]),
            sends=command("prepareOrder", "rest"),
        ),
        *(
            state(name, transition("orderPacked", "shipping"), sends=pack, side_commands=beside_packing)
            for name in _PACKED_IN[revision]
        ),
        state(
            "shipping",
            transition("parcelScanned", "shipping"),
            transition("orderShipped", "delivering"),
            sends=label,
        ),
        state("delivering", transition("orderDelivered", "delivered"), sends=command("deliverOrder")),
        state("delivered", is_final=True),
        state("failed", is_final=True),
    ]
    whole = machine(*states, revision=revision)
    return whole if hooks is None else msgspec.structs.replace(whole, customize=hooks.customize)
