"""The world around the engines: participants that do things twice, clients that ask again, producers of junk."""

import asyncio
from dataclasses import dataclass, field

from flowmachine.core.partitioners import crc32, home, kafkajs_legacy
from flowmachine.errors import TransientError
from flowmachine.wire.intake import Creation
from flowmachine.wire.log import OutputRecord
from flowmachine.wire.message import decode_message, encode_message
from tests.simulation.world import COMMANDS, EVENTS, NAMES, World

ANSWERS = {
    "executePayment": ("paymentExecuted",),
    "prepareOrder": ("orderPrepared",),
    "packOrder": ("orderPacked", "parcelScanned", "orderShipped"),
    "deliverOrder": ("orderDelivered",),
}
_PARTITIONERS = (home, home, kafkajs_legacy, crc32)


@dataclass
class Services:
    """What they did, for the judgement."""

    world: World
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Saga id -> idempotency key, of creations that were answered."""
    asked: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    """Idempotency key of a command over HTTP -> how often the endpoint took it."""
    junk: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    """Value of a bad input -> the outcomes that it may have."""
    is_endpoint_down: bool = False
    is_notify_down: bool = False
    """The endpoint of the side command is: nothing waits for it but the saga's outbox."""
    duplicates: float = 0.0
    pending: int = 0
    """Events that participants will still send."""

    def start(self) -> None:
        """Participants and the endpoint."""
        self.duplicates = self.world.random.choice((0.05, 0.1, 0.5))
        self.world.endpoint = self._take
        for number in range(len(self.world.broker.partitions[COMMANDS])):
            self.world.start(self._participate(number))

    # --- participants -------------------------------------------------------------------------------------------------

    async def _participate(self, number: int) -> None:
        broker, random = self.world.broker, self.world.random
        position = 0
        while True:
            records, position = broker.read((COMMANDS, number), position, 10)
            for record in records:
                assert record.key is not None
                self._answer(record.key, decode_message(record.value).message_label)
            if records and random.random() < self.duplicates:
                position = max(0, position - random.randint(1, 5))  # its offsets were not committed
                await asyncio.sleep(random.random())
            if not records:
                await broker.wait((COMMANDS, number))

    def _take(self, saga_id: str, label: str, idempotency_key: str) -> None:
        """The endpoint of the REST channel."""
        if self.is_endpoint_down or (self.is_notify_down and label == "notify"):
            raise TransientError("answered 503")
        self.delivered[idempotency_key] = self.delivered.get(idempotency_key, 0) + 1
        self._answer(saga_id.encode(), label)

    def _answer(self, key: bytes, label: str) -> None:
        random = self.world.random
        events = ANSWERS.get(label, ())
        if label == "executePayment" and crc32(key, 8) == 0:
            events = ("paymentFailed",)
        for _ in range(1 + (random.random() < self.duplicates)):
            self.pending += 1
            self.world.loop.call_later(random.randint(0, 400) / 1000, self._send, key, events)

    def _send(self, key: bytes, events: tuple[str, ...], partition: int | None = None) -> None:
        """All of a command's events in order, to one partition, the last one perhaps a while later."""
        self.pending -= 1
        broker, random = self.world.broker, self.world.random
        if partition is None:
            partitioner = _PARTITIONERS[crc32(key, len(_PARTITIONERS))]
            partition = partitioner(key, len(broker.partitions[EVENTS]))
        if len(events) > 1 and random.random() < 0.5:
            self.pending += 1
            self.world.loop.call_later(random.randint(0, 2000) / 1000, self._send, key, events[-1:], partition)
            events = events[:-1]
        self.world.history.note("participant", f"{key.decode()}: {', '.join(events)} to {EVENTS}/{partition}")
        broker.append([OutputRecord(EVENTS, key, encode_message(each, {each: True}), partition) for each in events])

    # --- clients ------------------------------------------------------------------------------------------------------

    async def create(self) -> None:
        """A client that wants a saga: it asks until somebody says yes, with one idempotency key."""
        self.asked += 1
        key = f"order-{self.asked}"
        world = self.world
        while True:
            host = world.random.choice(world.hosts)
            try:
                saga_id = await world.call(host, lambda gateway: gateway.create(Creation(key, {"order": key}), key))
                break
            except TransientError:
                await asyncio.sleep(world.random.random())
        self.acknowledged[saga_id] = key
        world.history.note("client", f"{key} is saga {saga_id}")
        if world.random.random() < 0.3:
            await self._read_back(saga_id)
        if world.random.random() < self.duplicates:
            host = world.random.choice(world.hosts)
            try:
                again = await world.call(host, lambda gateway: gateway.create(Creation(key, {"order": key}), key))
            except TransientError:
                return
            if again != saga_id:
                world.failures.append(f"{key} became two sagas: {saga_id} and {again}")

    async def _read_back(self, saga_id: str) -> None:
        world = self.world
        host = world.random.choice(world.hosts)
        world.history.note("client", f"reads {saga_id} from {host.address}")
        try:
            record = await world.call(host, lambda gateway: gateway.read(saga_id))
        except TransientError:
            return
        if record is None:
            world.history.note("client", f"{host.address} does not know {saga_id}")
            world.failures.append(f"{host.address} does not know saga {saga_id}, which was acknowledged")

    # --- bad inputs ---------------------------------------------------------------------------------------------------

    def send_junk(self) -> None:
        """Something that no saga can take; each piece has a value of its own."""
        world, random = self.world, self.world.random
        number = len(self.junk)
        key, value, outcomes = random.choice(
            (
                (b"nobody-%d" % number, encode_message("orderPacked", {"n": number}), ("unknown_saga",)),
                (b"nobody-%d" % number, b"junk %d" % number, ("malformed",)),
                (None, b"no key %d" % number, ("malformed",)),
                (b"nobody", b"long %d" % number + b"x" * 30_000, ("too_large",)),
                (b"\xff\xfe", b"not a name %d" % number, ("malformed",)),
                (self._known(), encode_message("unheardOf", {"n": number}), ("unexpected", "finished", "unknown_saga")),
            )
        )
        topic = EVENTS if key is None or random.random() < 0.7 else NAMES.intake
        if topic not in world.broker.partitions:
            return  # no engine has made its topics yet
        count = len(world.broker.partitions[topic])
        partition = home(key or b"", count) if topic == NAMES.intake else random.randrange(count)
        self.junk[value] = outcomes
        world.broker.append([OutputRecord(topic, key, value, partition)])

    def send_late_events(self) -> None:
        """An event for each saga that nobody remembers any more."""
        for saga_id in self.acknowledged:
            key, value = saga_id.encode(), encode_message("orderDelivered", {"late": saga_id})
            self.junk[value] = ("unknown_saga",)
            partition = home(key, len(self.world.broker.partitions[EVENTS]))
            self.world.broker.append([OutputRecord(EVENTS, key, value, partition)])

    def _known(self) -> bytes:
        ids = list(self.acknowledged)
        return self.world.random.choice(ids).encode() if ids else b"nobody"
