"""Random interleavings of appends, commits, takeovers and restarts on the embedded log, against a simple model."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowmachine.adapters.embedded.client import EmbeddedClient
from flowmachine.adapters.embedded.log import EmbeddedLog
from flowmachine.config.topic_names import OwnTopics
from flowmachine.errors import FencedError
from flowmachine.ports import PartitionLog, Transaction
from flowmachine.wire.log import OutputRecord
from tests.contract.log_harness import fetch_count, restore_into, source_of

PARTITIONS = 2
NAMES = OwnTopics("intake", "sagas", "unmatched")

partitions = st.integers(0, PARTITIONS - 1)
keys = st.sampled_from([b"a", b"b", b"c", b"\x00\xff"])


@dataclass(frozen=True)
class Append:
    """A client appends to the input."""

    partition: int
    count: int


@dataclass(frozen=True)
class Handle:
    """The owner fetches some records and commits answers, sagas and the offset."""

    partition: int
    count: int
    sagas: dict[bytes, bytes | None]


@dataclass(frozen=True)
class Takeover:
    """The partition is opened again, by a new handle or the same; the former owner tries to commit."""

    partition: int
    is_other_engine: bool


@dataclass(frozen=True)
class Restart:
    """All handles close; the file is opened anew."""


Step = Append | Handle | Takeover | Restart

steps = st.lists(
    st.one_of(
        st.builds(Append, partitions, st.integers(1, 70)),
        st.builds(
            Handle, partitions, st.integers(1, 70), st.dictionaries(keys, st.none() | st.binary(max_size=8), max_size=3)
        ),
        st.builds(Takeover, partitions, st.booleans()),
        st.just(Restart()),
    ),
    max_size=25,
)


@dataclass
class Model:
    """What must be visible."""

    inputs: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    handled: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    answers: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    sagas: list[dict[bytes, bytes]] = field(default_factory=lambda: [{} for _ in range(PARTITIONS)])


class Run:
    """The real log next to the model."""

    def __init__(self, path: Path, client: EmbeddedClient) -> None:
        self.path = path
        self.client = client
        self.model = Model()
        self.logs: list[EmbeddedLog] = []
        self.owners: list[PartitionLog] = []

    async def open(self) -> None:
        log = await self._add_log()
        self.owners = [await log.open_partition(partition) for partition in range(PARTITIONS)]

    async def close(self) -> None:
        for log in self.logs:
            await log.stop()
        self.logs = []

    async def take(self, step: Step) -> None:
        match step:
            case Append():
                await self._append(step)
            case Handle():
                await self._handle(step)
            case Takeover():
                await self._take_over(step)
            case Restart():
                await self.close()
                await self.open()

    async def check(self) -> None:
        for partition in range(PARTITIONS):
            answers = [r.value for r in await self.client.read_all("out") if r.partition == partition]
            assert answers == self.model.answers[partition]
            state: dict[bytes, bytes] = {}
            await restore_into(self.owners[partition], state, 0)
            assert state == self.model.sagas[partition]

    async def _add_log(self) -> EmbeddedLog:
        log = EmbeddedLog(
            self.path,
            names=NAMES,
            inputs=("in",),
            outputs=("out",),
            group="g",
            home_partitions=PARTITIONS,
            synchronous="NORMAL",
            exclusive=False,
        )
        await log.start()
        self.logs.append(log)
        return log

    async def _append(self, step: Append) -> None:
        known = self.model.inputs[step.partition]
        values = [b"%d-%d" % (step.partition, len(known) + n) for n in range(step.count)]
        await self.client.produce([OutputRecord("in", b"k", value, step.partition) for value in values])
        known += values

    async def _handle(self, step: Handle) -> None:
        partition, model = step.partition, self.model
        start = model.handled[partition]
        end = min(start + step.count, len(model.inputs[partition]))
        owner = self.owners[partition]
        source = source_of(owner, "in")
        records = await fetch_count(source, end - start) if end > start else []
        values = [record.value for record in records]
        assert values == model.inputs[partition][start:end]
        answers = [OutputRecord("out", record.key, record.value, partition) for record in records]
        await owner.commit(Transaction(answers, {("in", partition): end}, step.sagas))
        model.handled[partition] = end
        model.answers[partition] += model.inputs[partition][start:end]
        for key, value in step.sagas.items():
            if value is None:
                model.sagas[partition].pop(key, None)
            else:
                model.sagas[partition][key] = value

    async def _take_over(self, step: Takeover) -> None:
        former = self.owners[step.partition]
        log = await self._add_log() if step.is_other_engine else self.logs[-1]
        self.owners[step.partition] = await log.open_partition(step.partition)
        lost = [OutputRecord("out", b"k", b"lost", step.partition)]
        try:
            await former.commit(Transaction(lost, {("in", step.partition): 10_000}, {b"a": None}))
        except FencedError:
            return
        raise AssertionError("the former owner could still commit")


async def run_steps(taken: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        async with EmbeddedClient(path, synchronous="NORMAL") as client:
            run = Run(path, client)
            await run.open()
            for step in taken:
                await run.take(step)
            await run.check()
            await run.close()


@given(steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_any_interleaving_agrees_with_the_model(taken: list[Step]) -> None:
    asyncio.run(run_steps(taken))
