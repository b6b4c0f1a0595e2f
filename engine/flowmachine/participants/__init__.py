"""Write a participant in a few lines: a label, a handler, an event as the answer.

    participant = Participant()

    @participant.on("executePayment")
    async def execute_payment(command: Command) -> Event:
        return Event("paymentExecuted", {"paymentId": await pay(command.payload)})

    await participant.run(KafkaTransport(brokers=["localhost:9092"], commands=["orders-commands"],
                                         events="orders-events", group="payments"))

Services are never obliged to use this: the wire format is a key and `{"messageLabel", "messagePayload"}`, and any Kafka
client speaks it.
"""

from flowmachine.participants.embedded import EmbeddedTransport
from flowmachine.participants.kafka import KafkaTransport
from flowmachine.participants.participant import Command, Event, Handler, Participant, Transport

__all__ = ["Command", "EmbeddedTransport", "Event", "Handler", "KafkaTransport", "Participant", "Transport"]
