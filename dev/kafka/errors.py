"""Exceptions of the development brokers; the text of each is one sentence a contributor can act on.

KafkaDevError
├── ToolMissingError    java, mvn or openssl is not installed
├── ProvisionError      Maven could not deliver the jars
├── SettingsError       the wish itself makes no sense (two brokers, a port out of range)
├── PortTakenError      somebody else listens where a broker shall listen
├── ClusterStateError   the data folder holds something else than asked for
└── BrokerFailedError   a broker ended, or did not become ready in time
"""


class KafkaDevError(Exception):
    """Base of all errors that are shown to a contributor without a traceback."""


class ToolMissingError(KafkaDevError):
    """A program that must be installed is missing."""


class ProvisionError(KafkaDevError):
    """The Kafka jars could not be fetched."""


class SettingsError(KafkaDevError):
    """The settings contradict each other or are out of range."""


class PortTakenError(KafkaDevError):
    """A port that a broker needs is in use."""


class ClusterStateError(KafkaDevError):
    """The data folder belongs to another cluster, or to none."""


class BrokerFailedError(KafkaDevError):
    """A broker process ended or is not ready in time."""
