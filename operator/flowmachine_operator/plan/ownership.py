"""Whose an object of a child's name is.

| object                                         | it is   | what follows                                  |
|------------------------------------------------|---------|-----------------------------------------------|
| its controller is the FlowMachine (by uid)     | OURS    | kept in step                                  |
| its controller is a FlowMachine of that name   | OLD     | goes with its dead FlowMachine: wait          |
| anything else                                  | FOREIGN | never touched: told, and somebody renames one |
"""

from enum import Enum

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.resource import KIND
from flowmachine_operator.build.subject import Manifest


class Ownership(Enum):
    """Whose an object is."""

    OURS = "ours"
    OLD = "old"
    FOREIGN = "foreign"


def find_ownership(live: Manifest, *, machine: str, uid: str) -> Ownership:
    """Whose the object is, seen by the machine of this name and uid."""
    owners = as_array(as_object(live.get("metadata")).get("ownerReferences"))
    for owner in map(as_object, owners):
        if owner.get("controller") is True and owner.get("kind") == KIND and owner.get("name") == machine:
            return Ownership.OURS if owner.get("uid") == uid else Ownership.OLD
    return Ownership.FOREIGN
