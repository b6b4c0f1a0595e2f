// The services of the order example as existing ones are written: Node.js and KafkaJS, at least once, one command after
// the other. Arguments: package (kafkajs or kafkajs-1), bootstrap server, topic of commands, topic of events, group.
"use strict";

const [name, broker, commands, events, groupId] = process.argv.slice(2);
const { Kafka, logLevel } = require(`${process.env.NODE_PACKAGES}/node_modules/${name}`);

const ANSWERS = {
  executePayment: ({ total }) => ["paymentExecuted", { paymentId: `payment of ${total}` }],
  prepareOrder: () => ["orderPrepared", { parcel: { weight: 3 } }],
  deliverOrder: ({ paymentId }) => ["orderDelivered", { receipt: paymentId }],
};

const main = async () => {
  const kafka = new Kafka({ clientId: "orders", brokers: [broker], logLevel: logLevel.ERROR });
  const consumer = kafka.consumer({ groupId });
  const producer = kafka.producer();
  process.on("SIGTERM", async () => {
    await consumer.disconnect();
    await producer.disconnect();
    process.exit(0);
  });
  await producer.connect();
  await consumer.connect();
  consumer.on(consumer.events.GROUP_JOIN, () => console.log("joined"));
  // "Joined" is said before the first fetch, which is when KafkaJS would ask where the topic ends.
  await consumer.subscribe({ topic: commands, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const { messageLabel, messagePayload } = JSON.parse(message.value.toString());
      const answer = ANSWERS[messageLabel];
      if (answer === undefined) return;
      const [label, payload] = answer(messagePayload);
      const value = JSON.stringify({ messageLabel: label, messagePayload: payload });
      await producer.send({ topic: events, messages: [{ key: message.key, value }] });
    },
  });
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
