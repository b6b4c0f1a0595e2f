"""Settings -> the texts of server.properties and log4j2.properties. Pure: the same settings give the same text."""

from collections.abc import Mapping
from pathlib import Path

from dev.addresses import LOOPBACK
from dev.certificates import TlsFiles
from dev.kafka.settings import CONTROLLER, ClusterSettings
from dev.kafka.tokens import TokenIssuer

_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_OAUTH = "org.apache.kafka.common.security.oauthbearer"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")

_HEARTBEATS_PER_SESSION = 8  # one every 500 ms: a start, an ordered end and a failover each wait for one or two

LOG4J2 = """\
# To standard output, which goes to broker.log beside this file.
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

Ports = Mapping[int, Mapping[str, int]]


def build_server_properties(
    settings: ClusterSettings,
    node_id: int,
    *,
    ports: Ports,
    log_dir: Path,
    tls: TlsFiles | None,
    issuer: TokenIssuer | None = None,
) -> str:
    """Return the server.properties of one broker that is also a controller."""
    properties = _build_listeners(settings, node_id, ports)
    properties |= {"log.dirs": str(log_dir)}
    properties |= _build_limits(settings.brokers)
    properties |= {
        "broker.session.timeout.ms": str(settings.session_timeout_ms),
        "broker.heartbeat.interval.ms": str(settings.session_timeout_ms // _HEARTBEATS_PER_SESSION),
    }
    properties |= _build_sasl(settings, issuer)
    if tls is not None:
        properties |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tls.server_bundle),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(tls.ca),
        }
        for name, protocol in settings.listeners.items():
            if protocol == "SSL":
                properties[f"listener.name.{name.lower()}.ssl.client.auth"] = settings.tls_client_auth
    if settings.authorizer:
        properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        properties["super.users"] = ";".join(f"User:{name}" for name in settings.super_users)
    properties |= settings.overrides
    return "".join(f"{key}={_escape(value)}\n" for key, value in properties.items())


def _build_listeners(settings: ClusterSettings, node_id: int, ports: Ports) -> dict[str, str]:
    addresses = {name: f"{name}://{settings.host_of(name)}:{ports[node_id][name]}" for name in settings.listeners}
    voters = (f"{voter}@{LOOPBACK}:{ports[voter][CONTROLLER]}" for voter in settings.node_ids)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": ",".join(voters),
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(text for name, text in addresses.items() if name != CONTROLLER),
        "controller.listener.names": CONTROLLER,
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in settings.listeners.items()
        ),
    }


def _build_limits(brokers: int) -> dict[str, str]:
    replicas, in_sync = str(brokers), "2" if brokers > 1 else "1"
    return {
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        # 50 partitions each is the default of Kafka; 8 are created in no time and still spread over coordinators.
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": "8",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "8",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # An expired transaction is aborted within a second after its timeout; Kafka's default looks every ten seconds.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    }


def _build_sasl(settings: ClusterSettings, issuer: TokenIssuer | None) -> dict[str, str]:
    listeners = [name for name, protocol in settings.listeners.items() if protocol.startswith("SASL")]
    if not listeners:
        return {}
    users = " ".join(f'user_{name}="{password}"' for name, password in settings.users.items())
    oauth = () if issuer is None else ("OAUTHBEARER",)
    properties = {"sasl.enabled.mechanisms": ",".join((*SCRAM_MECHANISMS, "PLAIN", *oauth))}
    if issuer is not None:  # with a listener's prefix a broker takes no notice of them, and checks no signature
        properties |= {
            "sasl.oauthbearer.jwks.endpoint.url": issuer.jwks.as_uri(),
            "sasl.oauthbearer.jwt.validator.class": f"{_OAUTH}.BrokerJwtValidator",
        }
    for listener in listeners:
        prefix = f"listener.name.{listener.lower()}"
        properties[f"{prefix}.plain.sasl.jaas.config"] = f"{_PLAIN} {users};"
        for mechanism in SCRAM_MECHANISMS:
            properties[f"{prefix}.{mechanism.lower()}.sasl.jaas.config"] = _SCRAM
        if issuer is not None:
            properties |= {
                f"{prefix}.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
                f"{prefix}.oauthbearer.sasl.server.callback.handler.class": (
                    f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
                ),
            }
    return properties


def _escape(value: str) -> str:
    # Java reads the file as ISO 8859-1 with \\uXXXX for the rest, two of them beyond the basic plane.
    escaped = value.replace("\\", "\\\\")
    if escaped.isascii():
        return escaped
    units = escaped.encode("utf-16-be")
    codes = (int.from_bytes(units[index : index + 2], "big") for index in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
