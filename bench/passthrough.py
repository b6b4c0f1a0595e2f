"""The bare program that the engine is compared with: the same transactions, and no logic.

For each input record one command and one saga record of constant bytes in the sizes that the engine writes; the
transactions are those of `bench/bare.py`. It is no saga engine: it keeps nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

from bench.bare import Lane, Record, Written, build_parser, parse_numbers, run_program


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
    """Records of one partition before the next sizes apply."""
    command_bytes: tuple[int, ...]
    """Size of a command by step; 0: none is sent."""
    saga_bytes: tuple[int, ...]


class Passthrough:
    """Constant bytes for each record."""

    def __init__(self, settings: Settings) -> None:
        self._records_per_step = settings.records_per_step
        self._values = [
            [
                (topic, value)
                for topic, value in ((settings.commands, b"c" * command), (settings.sagas, b"s" * saga))
                if value
            ]
            for command, saga in zip(settings.command_bytes, settings.saga_bytes, strict=True)
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
    parser.add_argument("--command-bytes", type=parse_numbers, required=True)
    parser.add_argument("--saga-bytes", type=parse_numbers, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    settings = parse()
    decide = Passthrough(settings).decide
    run_program(
        lambda: [
            Lane(settings.bootstrap, settings.group, partition, [settings.events], decide)
            for partition in settings.partitions
        ]
    )
