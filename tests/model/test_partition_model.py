"""Partition hosts over a fake log, against a reference that sees each input record exactly once.

Two hosts plan and commit batches, and everything goes wrong: transactions are dropped, fenced, or become visible while
the host does not hear of it; hosts crash; partitions move while their old owner still plans; somebody deploys a machine
that has lost a state. The reference has no batches, no memory and no restarts: for each transaction that the log takes,
it decides the records one by one. Whatever happens, the log must hold what the reference says, and nothing else.
"""

from collections import Counter, defaultdict

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowmachine.core.definition import Machine, SagaId
from flowmachine.core.inputs import CommandDelivered, CommandFailed, Input, Resumed
from flowmachine.core.partitioners import home, kafkajs_legacy
from flowmachine.core.saga import Saga
from flowmachine.errors import FencedError
from flowmachine.partition.plan import BatchPlan
from flowmachine.wire.intake import CREATE_HEADERS, Creation, encode_creation
from flowmachine.wire.log import OutputRecord, StoredRecord
from flowmachine.wire.message import encode_message
from flowmachine.wire.record import encode_saga
from tests.model.partition_reference import (
    COMMANDS,
    EVENT_PARTITIONS,
    FEWER,
    HOME_PARTITIONS,
    RETENTION_MS,
    SAGA_IDS,
    WHOLE,
    FakeLog,
    Host,
    OpenPartition,
    Reference,
)
from tests.support.builders import EVENTS, INTAKE, NOW_MS, SAGAS, UNMATCHED, new_partition, recount, written_by

ROUNDS_MAX = 200
"""Batches until nothing is left to do; each held event takes one."""


hosts = st.integers(0, 1)
homes = st.integers(0, HOME_PARTITIONS - 1)
saga_ids = st.sampled_from(SAGA_IDS)
labels = st.sampled_from(["step", "go", "go", "stop", "again", "noise"])
bursts = st.lists(
    st.tuples(saga_ids, labels, st.sampled_from(["java", "kafkajs", "http"]), st.integers(0, 4)), min_size=2, max_size=6
)
"""Events: saga, label, the client that sent it, and whether (4) the payload is a bad one."""


class PartitionHosts(RuleBasedStateMachine):
    """The rules; the reference hears only of transactions that the log has taken."""

    def __init__(self) -> None:
        super().__init__()
        self.log = FakeLog()
        self.reference = Reference()
        self.hosts = [Host(), Host()]
        self.machine = WHOLE
        self.now_ms = NOW_MS
        self.inputs = 0

    # --- what arrives -------------------------------------------------------------------------------------------------

    def arrive(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, *, is_creation: bool = False
    ) -> None:
        self.inputs += 1
        self.now_ms += 7
        headers = CREATE_HEADERS if is_creation else ()
        self.log.append(OutputRecord(topic, key, value, partition, headers), self.now_ms)

    @initialize()
    def first_sagas(self) -> None:
        for saga_id in SAGA_IDS[:2]:
            self.create(saga_id)
            self.event(saga_id, "go", "http", is_bad=False)
        for partition in range(HOME_PARTITIONS):
            self.open(0, partition, is_compacted=False)
        self.work(0, 10)
        self.deliver_all()
        self.event(SAGA_IDS[1], "stop", "http", is_bad=False)
        self.work(0, 10)

    def deliver_all(self) -> None:
        for opened, key, entry_id in self.sagas_with_outbox():
            opened.internal.append(CommandDelivered(SagaId(key.decode()), entry_id, self.now_ms))

    @rule(saga_id=saga_ids)
    def create(self, saga_id: str) -> None:
        key = saga_id.encode()
        value = encode_creation(Creation("entity", {"created": self.inputs}))
        self.arrive(INTAKE, home(key, HOME_PARTITIONS), key, value, is_creation=True)

    @rule(burst=bursts)
    def events(self, burst: list[tuple[str, str, str, int]]) -> None:
        for saga_id, label, way, badness in burst:
            self.event(saga_id, label, way, is_bad=badness == 4)

    def event(self, saga_id: str, label: str, way: str, *, is_bad: bool) -> None:
        key = saga_id.encode()
        value = encode_message(label, {"bad" if is_bad else f"n{self.inputs}": self.inputs})
        if way == "http":
            self.arrive(INTAKE, home(key, HOME_PARTITIONS), key, value)
        else:
            partitioner = home if way == "java" else kafkajs_legacy
            self.arrive(EVENTS, partitioner(key, EVENT_PARTITIONS), key, value)

    @rule(
        topic=st.sampled_from([INTAKE, EVENTS]),
        partition=homes,
        key=st.sampled_from([None, b"", b"\xff", b"a", b"nobody"]),
        value=st.sampled_from([None, b"junk", b"{}", b'{"messageLabel":"step","messagePayload":[]}']),
        is_creation=st.booleans(),
    )
    def bad_record(self, topic: str, partition: int, key: bytes | None, value: bytes | None, is_creation: bool) -> None:
        self.arrive(topic, partition, key, value, is_creation=is_creation)

    # --- what hosts do ------------------------------------------------------------------------------------------------

    @rule(host=hosts, partition=homes, is_compacted=st.booleans())
    def open(self, host: int, partition: int, is_compacted: bool) -> None:
        """A rebalance: whoever had the partition is not told. What this host remembers of it is used again."""
        self.give_up(host, partition)
        settings = {"home_partitions": HOME_PARTITIONS, "retention_finished_ms": RETENTION_MS}
        memory, restored_to = self.hosts[host].kept.pop(partition, (None, 0))
        memory = memory or new_partition(self.machine, partition=partition, **settings)
        epoch = self.log.open(partition)
        for record in self.log.changelog(partition, restored_to, is_compacted=is_compacted):
            assert record.key is not None
            memory.sagas.restore(record.key, record.value)
        restored_to = len(self.log.topics[SAGAS, partition])
        sources = [
            (INTAKE, partition),
            *((EVENTS, p) for p in range(EVENT_PARTITIONS) if p % HOME_PARTITIONS == partition),
        ]
        internal: list[Input] = [
            Resumed(SagaId(key.decode()), self.now_ms)
            for key in memory.sagas.needing_work()
            if memory.is_resumable(key)
        ]
        positions = {place: self.log.committed[place] for place in sources}
        self.hosts[host].opened[partition] = OpenPartition(memory, epoch, positions, internal, restored_to)

    def give_up(self, host: int, partition: int) -> None:
        opened = self.hosts[host].opened.pop(partition, None)
        if opened is not None:
            self.hosts[host].kept[partition] = (opened.partition, opened.restored_to)

    def is_current(self, partition: int, opened: OpenPartition) -> bool:
        return opened.epoch == self.log.epochs[partition]

    def opened(self, *, is_planned: bool) -> list[tuple[int, int]]:
        """(host, partition) of all that have, or have no, batch in hand."""
        return [
            (host, partition)
            for host, each in enumerate(self.hosts)
            for partition, opened in each.opened.items()
            if (opened.batch is not None) == is_planned
        ]

    @precondition(lambda self: self.opened(is_planned=False))
    @rule(data=st.data(), records_max=st.integers(0, 5))
    def poll_and_plan(self, data: st.DataObject, records_max: int) -> None:
        host, partition = data.draw(st.sampled_from(self.opened(is_planned=False)))
        self.plan(self.hosts[host].opened[partition], records_max)

    def plan(self, opened: OpenPartition, records_max: int) -> None:
        records: list[StoredRecord] = []
        for place, position in opened.positions.items():
            fetched = self.log.topics[place][position : position + records_max]
            opened.positions[place] = position + len(fetched)
            records += fetched
        internal, opened.internal = opened.internal, []
        opened.batch = (records, internal, opened.partition.plan(records, internal, self.now_ms))

    @rule(host=hosts, records_max=st.integers(1, 10))
    def work(self, host: int, records_max: int) -> None:
        """A batch of each partition without trouble, unless another host has taken it."""
        for partition, opened in list(self.hosts[host].opened.items()):
            if opened.batch is None:
                self.plan(opened, records_max)
                if not self.transact(partition, opened, is_told=True):
                    self.give_up(host, partition)

    @precondition(lambda self: self.opened(is_planned=True))
    @rule(
        data=st.data(),
        fate=st.sampled_from(["told", "told", "told", "not told", "crash after", "lost", "crash before"]),
    )
    def commit(self, data: st.DataObject, fate: str) -> None:
        host, partition = data.draw(st.sampled_from(self.opened(is_planned=True)))
        if fate in {"lost", "crash before"}:
            self.end(host, partition, is_crash=fate == "crash before")
        elif self.transact(partition, self.hosts[host].opened[partition], is_told=fate == "told"):
            if fate != "told":
                self.end(host, partition, is_crash=fate == "crash after")
        else:
            self.give_up(host, partition)

    def end(self, host: int, partition: int, *, is_crash: bool) -> None:
        if is_crash:
            self.crash(host)
        else:  # any error of the log: the task opens its partition again, which here another rule may do later
            self.give_up(host, partition)

    def transact(self, partition: int, opened: OpenPartition, *, is_told: bool) -> bool:
        """Whether the log has taken the batch."""
        assert opened.batch is not None
        records, internal, plan = opened.batch
        try:
            if not plan.is_empty:
                self.log.commit(partition, opened.epoch, plan, self.now_ms)
        except FencedError:
            return False
        if not plan.is_empty:
            self.tell_reference(partition, records, internal, plan)
            if is_told:
                opened.partition.confirm(plan)
                opened.internal += [Resumed(SagaId(saga_id), self.now_ms) for saga_id in plan.resumable]
        opened.batch = None if is_told else opened.batch
        return True

    def tell_reference(
        self, partition: int, records: list[StoredRecord], internal: list[Input], plan: BatchPlan
    ) -> None:
        for received in internal:
            self.reference.take_internal(self.machine, partition, received)
        for record in records:
            self.reference.take_record(self.machine, partition, record)
        for written in written_by(plan, partition):
            if written.topic == SAGAS and written.value is None:
                assert written.key is not None
                self.reference.expire(written.key, self.now_ms)

    @rule(host=hosts)
    def crash(self, host: int) -> None:
        self.hosts[host] = Host()

    @rule(host=hosts, partition=homes)
    def lose(self, host: int, partition: int) -> None:
        """The host notices that the partition is no longer its own, or drops a batch because the log is away."""
        self.give_up(host, partition)

    @precondition(lambda self: self.sagas_with_outbox())
    @rule(data=st.data(), is_delivered=st.booleans())
    def settle(self, data: st.DataObject, is_delivered: bool) -> None:
        """An endpoint has answered to all commands of a saga; two hosts may both have sent them, and both are told."""
        opened, key, _ = data.draw(st.sampled_from(self.sagas_with_outbox()))
        saga_id = SagaId(key.decode())
        for entry in opened.partition.outbox(key):
            opened.internal.append(
                CommandDelivered(saga_id, entry.id, self.now_ms)
                if is_delivered
                else CommandFailed(saga_id, entry.id, "503", self.now_ms)
            )

    def sagas_with_outbox(self) -> list[tuple[OpenPartition, bytes, str]]:
        return [
            (opened, key, entry.id)
            for host in self.hosts
            for opened in host.opened.values()
            for key in opened.partition.sagas
            for entry in opened.partition.outbox(key)
        ]

    @rule()
    def let_time_pass(self) -> None:
        self.now_ms += RETENTION_MS + 1

    @precondition(lambda self: self.machine is FEWER or any(map(self.is_waiting, self.reference.sagas.values())))
    @rule(burst=bursts)
    def deploy_the_other_machine(self, burst: list[tuple[str, str, str, int]]) -> None:
        """Somebody deletes the state in which a saga waits, or brings it back; the world goes on meanwhile."""
        self.deploy(WHOLE if self.machine is FEWER else FEWER)
        self.events(burst)

    @staticmethod
    def is_waiting(saga: Saga) -> bool:
        return saga.current_state == "waiting"

    def deploy(self, whole: Machine) -> None:
        """All engines start anew."""
        self.machine = whole
        self.hosts = [Host(), Host()]
        for partition in range(HOME_PARTITIONS):
            self.open(partition % 2, partition, is_compacted=True)

    # --- what must be true --------------------------------------------------------------------------------------------

    @invariant()
    def log_holds_what_the_reference_says(self) -> None:
        latest = {
            each.key: each.value for p in range(HOME_PARTITIONS) for each in self.log.changelog(p, 0, is_compacted=True)
        }
        stored = {key: value for key, value in latest.items() if value is not None}
        assert stored == {key: encode_saga(saga) for key, saga in self.reference.sagas.items()}
        sent: dict[tuple[bytes | None, str], list[bytes | None]] = defaultdict(list)
        expected: dict[tuple[bytes | None, str], list[bytes | None]] = defaultdict(list)
        for topic in COMMANDS:
            for each in self.log.topics[topic, 0]:
                sent[each.key, topic].append(each.value)
        for key, commands in self.reference.commands.items():
            for topic, value in commands:
                expected[key, topic].append(value)
        assert sent == expected
        for partition in range(HOME_PARTITIONS):
            kept = [dict(each.headers) for each in self.log.topics[UNMATCHED, partition]]
            assert [
                (each["flowmachine-outcome"].decode(), each["flowmachine-origin"].decode()) for each in kept
            ] == self.reference.unmatched[partition]
        assert self.log.committed == self.reference.next_offsets

    @invariant()
    def forwarded_records_arrive_once(self) -> None:
        arrived = [
            (dict(each.headers)["flowmachine-origin"].decode(), each.key, each.value, each.timestamp)
            for partition in range(HOME_PARTITIONS)
            for each in self.log.topics[INTAKE, partition]
            if each.headers and each.headers != CREATE_HEADERS
        ]
        assert Counter(arrived) == Counter(self.reference.forwarded)

    @invariant()
    def owners_remember_what_the_log_holds(self) -> None:
        for host in self.hosts:
            for number, opened in host.opened.items():
                if self.is_current(number, opened) and not (opened.batch and self.is_visible(opened)):
                    here = {k: encode_saga(s) for k, s in self.reference.sagas.items() if self.is_home(k, number)}
                    assert {key: opened.partition.sagas.get(key) for key in opened.partition.sagas} == here
                    assert +opened.partition.sagas.by_state == recount(opened.partition)

    @staticmethod
    def is_home(key: bytes, partition: int) -> bool:
        return home(key, HOME_PARTITIONS) == partition

    def is_visible(self, opened: OpenPartition) -> bool:
        """Whether a batch in hand has been committed without its host knowing."""
        assert opened.batch is not None
        return any(self.log.committed[place] >= offset for place, offset in opened.batch[2].next_offsets.items())

    def teardown(self) -> None:
        """In the end all is well again, and nothing is left undone."""
        self.deploy(WHOLE)
        self.drain()
        arrived = {place: len(records) for place, records in self.log.topics.items() if place[0] in {INTAKE, EVENTS}}
        assert +self.reference.next_offsets == +Counter(arrived)
        assert not [key for key, saga in self.reference.sagas.items() if saga.held]
        self.deliver_all()
        self.drain()
        self.now_ms += RETENTION_MS + 1
        self.drain()
        assert not [key for key, saga in self.reference.sagas.items() if saga.is_final]
        self.log_holds_what_the_reference_says()
        self.owners_remember_what_the_log_holds()
        self.forwarded_records_arrive_once()

    def drain(self) -> None:
        for _ in range(ROUNDS_MAX):
            is_idle = True
            for host in self.hosts:
                for partition, opened in host.opened.items():
                    self.plan(opened, 100)
                    assert opened.batch is not None
                    is_idle = is_idle and opened.batch[2].is_empty
                    assert self.transact(partition, opened, is_told=True)
            if is_idle:
                return
        raise AssertionError("the hosts find new work for ever")


PartitionHosts.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, suppress_health_check=[HealthCheck.too_slow]
)
TestPartitionHosts = PartitionHosts.TestCase
