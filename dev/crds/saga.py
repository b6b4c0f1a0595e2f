"""The CustomResourceDefinition of `Saga`: what the store `kubernetes` writes, one object per saga.

`spec` says which saga it is and never changes; `status` is Flow Manager's document (`flowmachine.wire.document`). The
parts whose shape is the users' own are kept as they are, and are atomic: a field owner for each of their keys would be
as large as they are.
"""

from typing import Any, Final

SAGA_KIND: Final = "Saga"
SAGA_PLURAL: Final = "sagas"

_OPEN: Final[dict[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_ATOMIC: Final[dict[str, Any]] = {**_OPEN, "x-kubernetes-map-type": "atomic"}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _steps(description: str) -> dict[str, Any]:
    return {"type": "array", "description": description, "x-kubernetes-list-type": "atomic", "items": _OPEN}


SAGA_PRINTER_COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "Machine", "type": "string", "jsonPath": ".spec.machine"},
    {"name": "State", "type": "string", "jsonPath": ".status.currentState"},
    {"name": "Business state", "type": "string", "jsonPath": ".status.businessStateDescription"},
    {"name": "Entity", "type": "string", "jsonPath": ".spec.associatedEntityId", "priority": 1},
    {"name": "Finished", "type": "boolean", "jsonPath": ".status.isFinal", "priority": 1},
    {"name": "Changed", "type": "date", "jsonPath": ".status.flowmachine.updatedAt", "priority": 1},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]

_SPEC: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Which saga it is.",
    "required": ["machine", "sagaId"],
    "properties": {
        "machine": _text("Name of its FlowMachine."),
        "sagaId": _text("Its id, which the name of the object may not be able to hold."),
        "associatedEntityId": _text("What the saga is about."),
    },
    "x-kubernetes-validations": [
        {
            "rule": "self.machine == oldSelf.machine && self.sagaId == oldSelf.sagaId",
            "message": "an object belongs to one saga for good",
        }
    ],
}

_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "description": "How the saga is; written by the engines. A change here does not change the saga.",
    "properties": {
        "currentState": _text("Id of its state."),
        "latestEvent": _text("Label of the event that led there."),
        "isFinal": {"type": "boolean", "description": "Whether it has finished."},
        "businessStateId": {
            "x-kubernetes-int-or-string": True,
            "description": "Id of the business state.",
        },
        "businessStateDescription": _text("What the business calls this state."),
        "associatedEntityId": _text("What the saga is about."),
        "metadata": {**_ATOMIC, "description": "What was given at its creation and came with its events."},
        "history": {
            "type": "object",
            "description": "What happened, oldest first.",
            "properties": {
                "states": _steps("The states that it entered."),
                "events": _steps("The events that led to them."),
            },
        },
        "historyCut": {
            "type": "integer",
            "format": "int64",
            "description": "How many of its oldest steps are left out of the history, because they do not fit.",
        },
        "flowmachine": {
            **_ATOMIC,
            "description": "`seq` (grows with every change), `revision`, `createdAt`, `updatedAt`, and what waits: "
            "`outbox`, `held`, `timers`.",
        },
    },
}

SAGA_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A copy of a saga, for people: `kubectl get sagas`. The truth is in the machine's log.",
    "required": ["spec"],
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": _SPEC,
        "status": _STATUS,
    },
}
