"""The log on Apache Kafka, through aiokafka (0.14: its limits are noted where they shape the code)."""

from flowmachine.adapters.kafka.changes import KafkaChanges
from flowmachine.adapters.kafka.connection import KafkaConnection, Sasl
from flowmachine.adapters.kafka.log import KafkaLog, KafkaLogSettings
from flowmachine.adapters.kafka.topics import TopicNames

__all__ = ["KafkaChanges", "KafkaConnection", "KafkaLog", "KafkaLogSettings", "Sasl", "TopicNames"]
