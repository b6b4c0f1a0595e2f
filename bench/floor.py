"""The hand-written loop that the engine is compared with: the order machine, hard-coded, and nothing else.

What somebody would write with aiokafka who needs this one machine and knows how to be fast: sagas in a dictionary, and
the transactions of `bench/bare.py`. It keeps no history, checks nothing and forwards nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bench.bare import Lane, Record, Written, build_parser, run_program

STEPS = (
    ("created", "paymentExecuted", "executePayment"),
    ("paid", "orderPrepared", "prepareOrder"),
    ("prepared", "orderDelivered", "deliverOrder"),
    ("delivered", None, None),
)
"""State, the event that it waits for, the command that it sends. What fails is left out: the load never does."""

_encode, _decode = orjson.dumps, orjson.loads


@dataclass(frozen=True, slots=True)
class Settings:
    """What it reads and writes."""

    bootstrap: str
    group: str
    intake: str
    events: str
    commands: str
    sagas: str
    partitions: tuple[int, ...]


class Orders:
    """The orders of all partitions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sagas: dict[bytes, tuple[int, dict[str, Any]]] = {}

    def decide(self, records: Sequence[Record]) -> Iterable[tuple[str, Written]]:
        """Move the sagas; their commands, and their new records."""
        commands: list[tuple[bytes, bytes]] = []
        changed: list[tuple[bytes, bytes]] = []
        intake, sagas = self._settings.intake, self._sagas
        for record in records:
            key, received = record.key, _decode(record.value or b"")
            assert key is not None
            if record.topic == intake:
                step, metadata = 0, received["metadata"]
            else:
                step, metadata = sagas[key]
                if STEPS[step][1] != received["messageLabel"]:
                    continue
                step, metadata = step + 1, metadata | received["messagePayload"]
            state, event, command = STEPS[step]
            if command is not None:
                commands.append((key, _encode({"messageLabel": command, "messagePayload": metadata})))
            changed.append((key, _encode({"currentState": state, "metadata": metadata, "isFinal": event is None})))
            sagas[key] = (step, metadata)
        by_topic = ((self._settings.commands, commands), (self._settings.sagas, changed))
        return [(topic, written) for topic, written in by_topic if written]


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = build_parser("python -m bench.floor", "intake", "events", "commands", "sagas")
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    settings = parse()
    decide, inputs = Orders(settings).decide, [settings.intake, settings.events]
    run_program(
        lambda: [
            Lane(settings.bootstrap, settings.group, partition, inputs, decide) for partition in settings.partitions
        ]
    )
