"""The bare program that the engine is compared with: the same transactions, and no logic.

For each input record one command and one saga record of constant bytes: what the engine writes for one order. The
transactions are those of `bench/bare.py`. It is no saga engine: it keeps nothing. With `--compressed-topic` its
records there are compressed as the engine's changelog is; it then gets off lightly, because they are all the same.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from bench.bare import Lane, Record, Written, build_parser, run_program


@dataclass(frozen=True, slots=True)
class Settings:
    """What it reads, and how much it writes for it."""

    bootstrap: str
    group: str
    events: str
    commands: str
    sagas: str
    partitions: tuple[int, ...]
    records_per_step: int
    """Records of one partition before the next of `written` applies."""
    written: tuple[tuple[bytes, bytes], ...]
    """A command and a saga record by step; an empty one is not sent."""
    compressed_topic: str | None = None


class Passthrough:
    """Constant bytes for each record."""

    def __init__(self, settings: Settings) -> None:
        self._records_per_step = settings.records_per_step
        self._values = [
            [(topic, value) for topic, value in ((settings.commands, command), (settings.sagas, saga)) if value]
            for command, saga in settings.written
        ]

    def decide(self, records: Sequence[Record]) -> Iterable[tuple[str, Written]]:
        """The bytes of the step in which the first record is."""
        step = min(records[0].offset // self._records_per_step, len(self._values) - 1)
        keys = [record.key or b"" for record in records]
        return [(topic, zip(keys, repeat(value))) for topic, value in self._values[step]]


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = build_parser("python -m bench.passthrough", "events", "commands", "sagas")
    parser.add_argument("--records-per-step", type=int, required=True)
    parser.add_argument("--written", type=parse_written, required=True)
    parser.add_argument("--compressed-topic")
    return Settings(**vars(parser.parse_args(arguments)))


def parse_written(text: str) -> tuple[tuple[bytes, bytes], ...]:
    """Commands and saga records in a JSON list of pairs."""
    return tuple((command.encode(), saga.encode()) for command, saga in json.loads(text))


if __name__ == "__main__":
    settings = parse()
    decide = Passthrough(settings).decide
    run_program(
        lambda: [
            Lane(settings.bootstrap, settings.group, partition, [settings.events], decide, settings.compressed_topic)
            for partition in settings.partitions
        ]
    )
