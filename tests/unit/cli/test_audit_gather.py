"""What an audit learns about all sagas while it reads the topics."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from flowmachine.audit.model import TopicPartition
from flowmachine.cli.audit.gather import MachineTopics, gather
from flowmachine.cli.audit.spill import Spill
from flowmachine.core.saga import ADOPTED, IMPORTED
from flowmachine.wire.log import InputRecord
from tests.support.builders import COMMANDS, EVENTS, INTAKE, NOW_MS, SAGAS, UNMATCHED
from tests.unit.audit.recording import COMMAND_PARTITIONS, RETENTION_MS, Recording, with_json

TOPICS = MachineTopics(INTAKE, SAGAS, UNMATCHED, (EVENTS,), {"log": (COMMANDS,)}, RETENTION_MS, may_share_inputs=False)


class RecordingReader:
    """The topics of a recording."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def partition_counts(self, topics: Sequence[str]) -> Mapping[str, int]:
        return {topic: COMMAND_PARTITIONS if topic == COMMANDS else 1 for topic in topics}

    async def committed(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {place: at for place, at in self._recording.committed.items() if place in partitions}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._recording.topics[topic, partition])

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncGenerator[Sequence[InputRecord], None]:
        if start < end:
            yield self._recording.topics[topic, partition][start:end]


@pytest.mark.parametrize(
    ("fields", "has_other_revisions"),
    [
        ({}, False),
        ({"revision": "r0"}, True),
        ({"earlierRevisions": ["r0"]}, True),
        ({"earlierRevisions": ["r1"]}, False),
        ({"earlierRevisions": [IMPORTED, ADOPTED]}, False),
    ],
)
async def test_whether_other_revisions_were_at_work_is_read_from_the_records(
    tmp_path: Path, fields: dict[str, object], *, has_other_revisions: bool
) -> None:
    """Also from one that has gone on since under this revision."""
    recording = Recording()
    recording.create()
    recording.create(key=b"order-2")
    recording.run()
    recording.change(SAGAS, 0, with_json(**fields))
    assert msgspec.json.decode(recording.topics[SAGAS, 0][1].value or b"")["revision"] == "r1"
    with Spill(tmp_path) as spill:
        scope = await gather(
            RecordingReader(recording), recording.machine, TOPICS, spill, now_ms=NOW_MS, advance=lambda *_: None
        )
    assert scope.has_other_revisions is has_other_revisions
