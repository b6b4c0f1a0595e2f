"""The status of a FlowMachine as the CRD describes it, and what `kubectl get` shows of it."""

from typing import Final


def _text(description: str, **more: object) -> dict[str, object]:
    return {"type": "string", "description": description, **more}


def _count(description: str) -> dict[str, object]:
    return {"type": "integer", "format": "int64", "minimum": 0, "description": description}


_CONDITION: Final[dict[str, object]] = {
    "type": "object",
    "description": "One aspect of the machine, as it is now.",
    "required": ["type", "status", "lastTransitionTime", "reason", "message"],
    "properties": {
        "type": _text(
            "Ready, Reconciling, Stalled, KafkaReachable, MachineValid, PartitionsAligned or StoreReady.",
            maxLength=316,
            pattern=r"^[A-Za-z][A-Za-z0-9]*$",
        ),
        "status": _text("True, False or Unknown.", enum=["True", "False", "Unknown"]),
        "observedGeneration": _count("The metadata.generation that this was found for."),
        "lastTransitionTime": _text("When the status last changed from one value to another.", format="date-time"),
        "reason": _text(
            "A word for programs: why the status is what it is.",
            minLength=1,
            maxLength=1024,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        ),
        "message": _text("A sentence for people: what is the case, and what to do.", maxLength=32768),
    },
}

STATUS: Final[dict[str, object]] = {
    "type": "object",
    "description": "What the operator has found; written by the operator only.",
    "properties": {
        "observedGeneration": _count("The metadata.generation that this status is about."),
        "conditions": {
            "type": "array",
            "description": "Ready, Reconciling and Stalled as kstatus knows them, and what they follow from.",
            "items": _CONDITION,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
        "partitions": _count("Home partitions of the machine: how many engines can work at once."),
        "replicas": _count("Engines that shall run."),
        "readyReplicas": _count("Engines that run and have restored their sagas."),
        "selector": _text("Label selector of the engines' pods, for the scale subresource."),
        "revision": _text("Revision of the machine that runs: a hash of what decides how a saga moves."),
        "sagas": {
            "type": "object",
            "description": "How many sagas there are.",
            "properties": {
                "active": _count("Sagas that are not in a final state."),
                "finished": _count("Sagas in a final state that are still remembered."),
                "held": _count(
                    "Sagas in states that the machine no longer has; they wait for a machine that has them."
                ),
                "byState": {
                    "type": "object",
                    "description": "Sagas by the id of their state.",
                    "additionalProperties": {"type": "integer", "format": "int64", "minimum": 0},
                },
            },
        },
    },
}


def _column(name: str, path: str, kind: str, description: str, priority: int = 0) -> dict[str, object]:
    return {"name": name, "jsonPath": path, "type": kind, "description": description, "priority": priority}


PRINTER_COLUMNS: Final = [
    _column("State", '.status.conditions[?(@.type=="Ready")].reason', "string", "Running, or why it is not."),
    _column("Ready", ".status.readyReplicas", "integer", "Engines that are ready."),
    _column("Desired", ".status.replicas", "integer", "Engines that shall run."),
    _column("Partitions", ".status.partitions", "integer", "Home partitions of the machine."),
    _column("Active", ".status.sagas.active", "integer", "Sagas that are not finished."),
    _column("Age", ".metadata.creationTimestamp", "date", "Since the FlowMachine was created."),
    _column("Held", ".status.sagas.held", "integer", "Sagas in states that the machine no longer has.", 1),
    _column("Revision", ".status.revision", "string", "Revision of the machine that runs.", 1),
    _column(
        "Message",
        '.status.conditions[?(@.type=="Ready")].message',
        "string",
        "What is the case, and what to do.",
        1,
    ),
]
"""The last ones are shown by `-o wide` only."""
