"""Real Kafka brokers (KRaft, no Docker) for contributors and tests; `python -m dev.kafka up` or `KafkaCluster`.

Modules, lower ones first; each imports only those above it, and what all tools of `dev` share:

wire               two requests of the Kafka protocol, to ask a broker whether it is ready
provision          pom.xml -> jars in the user's cache
tokens             an issuer of OAuth tokens
settings           what a cluster shall be: `ClusterSettings`
server_properties  settings -> the text of server.properties
broker             one broker process: format, spawn, pause
class_archive      shared class data in the cache, so that a broker starts in half the time
state              what runs in a data folder
watchdog           ends the brokers of a test run that was killed
cluster            `KafkaCluster`: all brokers together
"""

from dev.kafka.cluster import KafkaCluster
from dev.kafka.settings import ClusterSettings

__all__ = ["ClusterSettings", "KafkaCluster"]
