"""The log on Apache Kafka, through aiokafka (0.14: its limits are noted where they shape the code)."""

from flowmachine.adapters.kafka.changes import KafkaChanges
from flowmachine.adapters.kafka.connection import KafkaConnection, KafkaCredentials, Sasl
from flowmachine.adapters.kafka.fetched import read_lean_records
from flowmachine.adapters.kafka.log import KafkaLog, KafkaLogSettings
from flowmachine.adapters.kafka.oauth import EndpointTokens, GivenTokens, TokenEndpoint
from flowmachine.adapters.kafka.topics import TopicNames, topic_names

__all__ = [
    "EndpointTokens",
    "GivenTokens",
    "KafkaChanges",
    "KafkaConnection",
    "KafkaCredentials",
    "KafkaLog",
    "KafkaLogSettings",
    "Sasl",
    "TokenEndpoint",
    "TopicNames",
    "read_lean_records",
    "topic_names",
]
