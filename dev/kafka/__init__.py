"""Real Kafka brokers (KRaft, no Docker) for contributors and tests; `python -m dev.kafka up` or `KafkaCluster`.

Modules, lower ones first; each imports only those above it:

errors             one sentence for the contributor about what is wrong and what to do
processes          tell our own processes from others that got the same id; signals
addresses          free and taken ports; locks between runs
wire               two requests of the Kafka protocol, to ask a broker whether it is ready
provision          pom.xml -> jars in the user's cache
certificates       a CA, a server and a client certificate
tokens             an issuer of OAuth tokens
settings           what a cluster shall be: `ClusterSettings`
server_properties  settings -> the text of server.properties
broker             one broker process: format, spawn, signals, why it ended
class_archive      shared class data in the cache, so that a broker starts in half the time
state              what runs in a data folder: state.json
watchdog           ends the brokers of a test run that was killed
cluster            `KafkaCluster`: all brokers together
"""

from dev.kafka.cluster import KafkaCluster
from dev.kafka.errors import (
    BrokerFailedError,
    ClusterStateError,
    KafkaDevError,
    PortTakenError,
    ProvisionError,
    SettingsError,
    ToolMissingError,
)
from dev.kafka.settings import ClusterSettings

__all__ = [
    "BrokerFailedError",
    "ClusterSettings",
    "ClusterStateError",
    "KafkaCluster",
    "KafkaDevError",
    "PortTakenError",
    "ProvisionError",
    "SettingsError",
    "ToolMissingError",
]
