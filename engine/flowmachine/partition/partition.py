"""The sagas of one home partition, and how a batch of input records is planned and becomes true.

records ─► plan() ─► BatchPlan ─► one transaction ─► confirm()
└──────► (transaction failed) ─► dropped: nothing to undo
"""

from collections.abc import Iterable, Sequence

from flowmachine.core.decide import can_resume
from flowmachine.core.definition import ChannelId, Machine
from flowmachine.core.inputs import Input
from flowmachine.core.saga import OutboxEntry
from flowmachine.partition.batch import Batch, CommandPlaces
from flowmachine.partition.plan import BatchPlan
from flowmachine.partition.sagas import PartitionSagas
from flowmachine.partition.settings import PartitionSettings
from flowmachine.partition.tracing import Sampler
from flowmachine.wire.log import InputRecord
from flowmachine.wire.record import decode_saga, is_awaited_record


class Partition:
    """The sagas of one home partition under one machine."""

    def __init__(self, machine: Machine, settings: PartitionSettings, sampler: Sampler | None = None) -> None:
        """`sampler` None: nobody wants traces."""
        self.machine = machine
        self.settings = settings
        self.sampler = sampler
        self.sagas = PartitionSagas()
        self.command_places: CommandPlaces = {
            ChannelId(channel): [
                (topic, settings.partition if topic in settings.aligned_topics else None) for topic in topics
            ]
            for channel, topics in settings.command_topics.items()
        }

    def plan(
        self,
        records: Iterable[InputRecord],
        internal: Sequence[Input],
        now_ms: int,
        *,
        after: BatchPlan | None = None,
    ) -> BatchPlan:
        """Decide a batch: first `internal` inputs (settled commands, resumed sagas), then the log's records in order.

        `after` is a plan that is being committed: this one builds on it, and is void if that one fails.

        Changes nothing in memory. Every record that the plan has taken ends up in exactly one outcome, or is forwarded
        to its home; those behind them are for the next plan, and not asked for.
        """
        batch = Batch(self.machine, self.settings, self.sagas, self.command_places, self.sampler, after)
        internal_taken = batch.take_inputs(internal)
        records_taken = batch.take_records(records)
        return batch.to_plan(now_ms, records_taken=records_taken, internal_taken=internal_taken)

    def confirm(self, plan: BatchPlan) -> None:
        """The plan's transaction has been committed: make it true in memory."""
        self.sagas.apply(plan.changed, plan.finished, plan.expired_count)
        self.sagas.by_state.update(plan.state_changes)
        self.sagas.held_by_state.update(plan.held_changes)

    def outbox(self, key: bytes) -> tuple[OutboxEntry, ...]:
        """A saga's outbox."""
        value = self.sagas.get(key)
        return decode_saga(value).outbox if value else ()

    def is_awaited(self, key: bytes) -> bool:
        """Whether a saga is still to be loaded from a store."""
        value = self.sagas.get(key)
        return value is not None and is_awaited_record(value)

    def is_resumable(self, key: bytes) -> bool:
        """Whether a saga is held and may go on now that an engine starts: a hook that failed is tried once more."""
        value = self.sagas.get(key)
        if value is None:
            return False
        saga = decode_saga(value)
        return can_resume(self.machine, saga) or (saga.hold is not None and saga.current_state in self.machine.states)
