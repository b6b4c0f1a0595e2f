"""What the CRD says beyond the models: limits, unique ids, and CEL rules, each by its path below `spec`.

`[]` in a path stands for the items of a list. The path of a rule ends at the node that it is a rule of.
"""

from typing import Final

from flowmachine.config.documents import as_object
from flowmachine.config.fields import ID_LENGTH_MAX
from flowmachine.config.machine_model import BUSINESS_ENTRIES_MAX

Rule = dict[str, object]

STATES_MAX: Final = 200
TRANSITIONS_MAX: Final = 16
SIDE_EFFECTS_MAX: Final = 16

LIMITS: Final = {
    "machine.states": STATES_MAX,
    "machine.states[].outgoingTransitions": TRANSITIONS_MAX,
    "machine.states[].sideEffects": SIDE_EFFECTS_MAX,
    "machine.businessStates": min(200, BUSINESS_ENTRIES_MAX),
    "machine.businessEvents": min(200, BUSINESS_ENTRIES_MAX),
}
"""Below the models' limits: with these the rules stay within the API server's cost budget."""

LIST_MAPS: Final = {
    "channels": "id",
    "machine.states": "id",
    "machine.businessStates": "id",
    "machine.businessEvents": "id",
}
"""Lists whose entries have a unique key; also merged by it in server-side apply.

Transitions have a rule instead: as a list map, 3200 of them add 600 KB of field owners to the object (measured), and
etcd takes 1.5 MB.
"""


def _rule(rule: str, message: str, field: str = "") -> Rule:
    return {"rule": rule, "message": message, **({"fieldPath": field} if field else {})}


def _no_dangling(declared: str, wrong: str, message: str) -> Rule:
    """The rule that `wrong` holds for no state `s`, given the declared `ids`.

    The message cannot name the state: for a text put together from a found id the API server knows no bound, and
    refuses the CRD for its cost. The path is that of the list.
    """
    told = f"{message}; `flowmachine check -f FILE` says which one is not"
    return _rule(f"[{declared}].exists(ids, !self.states.exists(s, {wrong}))", told, ".states")


_STATE_IDS: Final = "self.states.map(s, s.id)"
_BAD_TARGET: Final = "has(s.outgoingTransitions) && s.outgoingTransitions.exists(t, !(t.targetState in ids))"
_BAD_BUSINESS_STATE: Final = "!(s.businessStateId in ids)"
_BAD_BUSINESS_EVENT: Final = (
    "has(s.outgoingTransitions) && "
    "s.outgoingTransitions.exists(t, has(t.businessEventId) && !(t.businessEventId in ids))"
)
_CHANNEL_USED: Final = (
    "(!has(s.outputCommand) || s.outputCommand.channel in ids) && "
    "(!has(s.sideEffects) || s.sideEffects.all(c, c.channel in ids))"
)


def _commands_use(channels: str) -> str:
    return f"[{channels}.map(c, c.id)].exists(ids, self.machine.states.all(s, {_CHANNEL_USED}))"


RULES: Final[dict[str, list[Rule]]] = {
    "": [
        _rule(
            _commands_use("self.channels"),
            "a command names a channel that does not exist: outputCommand.channel and sideEffects[].channel must be "
            "ids of spec.channels",
            ".machine.states",
        ),
        _rule(
            _commands_use(
                "self.channels.filter(c, !has(c.kafka) || "
                "(has(c.kafka.outputTopics) && c.kafka.outputTopics.size() > 0))"
            ),
            "a command names a channel without outputTopics, which carries no commands",
            ".channels",
        ),
    ],
    "machine": [
        _rule(
            "self.states.exists(s, s.id == self.initialState)",
            "initialState must be the id of a state",
            ".initialState",
        ),
        _no_dangling(_STATE_IDS, _BAD_TARGET, "every targetState must be the id of a state"),
        _no_dangling(
            "self.businessStates.map(b, b.id)",
            _BAD_BUSINESS_STATE,
            "businessStateId must be the id of a business state (a number and a text differ)",
        ),
        _no_dangling(
            "(has(self.businessEvents) ? self.businessEvents : []).map(e, e.id)",
            _BAD_BUSINESS_EVENT,
            "every businessEventId must be the id of a business event (a number and a text differ)",
        ),
    ],
    "machine.states[].outgoingTransitions": [
        _rule(
            "self.all(t, self.exists_one(u, u.inputEvent == t.inputEvent))",
            "each inputEvent may stand in one transition of a state",
        )
    ],
    "channels[]": [_rule("has(self.kafka) != has(self.rest)", "a channel has either kafka or rest")],
    "channels[].kafka": [
        _rule(
            "(has(self.inputTopics) && self.inputTopics.size() > 0) || "
            "(has(self.outputTopics) && self.outputTopics.size() > 0)",
            "needs inputTopics, outputTopics, or both",
        ),
        _rule(
            "!has(self.inputTopics) || self.inputTopics.size() == 0 || has(self.consumerGroup)",
            "consumerGroup is required, because there are inputTopics",
        ),
    ],
    "settings.internalTopics": [
        _rule(
            "!has(self.replicationFactor) || !has(self.minInSyncReplicas) || "
            "self.minInSyncReplicas <= self.replicationFactor",
            "minInSyncReplicas must not be larger than replicationFactor",
        ),
    ],
}

ROOT_RULES: Final[list[Rule]] = [
    _rule(
        f"self.metadata.name.size() <= {ID_LENGTH_MAX} && "
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        f"metadata.name must have at most {ID_LENGTH_MAX} characters: lower-case letters, digits and '-', without dots",
    ),
]


def find(schema: dict[str, object], path: str) -> dict[str, object]:
    """The node of a structural schema at a path such as `machine.states[].id`; the schema itself for an empty one."""
    node = schema
    for part in path.split(".") if path else ():
        node = as_object(as_object(node["properties"])[part.removesuffix("[]")])
        if part.endswith("[]"):
            node = as_object(node["items"])
    return node
