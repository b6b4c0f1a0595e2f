"""What a cluster shall be, as a value; it is checked when it is made and saved with the data."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dev.addresses import LOOPBACK
from dev.errors import SettingsError

CONTROLLER = "CONTROLLER"
EXTRA = "EXTRA"
# Position in this list = offset from the broker's first port, so that a port means the same whatever is switched on.
_LISTENER_ORDER = ("PLAINTEXT", CONTROLLER, "SASL_PLAINTEXT", "SSL", "SASL_SSL", EXTRA)
PORTS_PER_BROKER = 10
_BROKER_COUNTS = (1, 3)
_PORT_BASE_MIN, _PORT_BASE_MAX = 1024, 65_500
_NAME = re.compile(r"[A-Za-z0-9._-]+")  # users and passwords travel through JAAS lines and StorageTool arguments
DEFAULT_USERS: Mapping[str, str] = {"admin": "admin-secret", "alice": "alice-secret", "bob": "bob-secret"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Brokers, listeners and limits of a development cluster.

    `port_base` None means free ports, `data_dir` None a temporary folder that `KafkaCluster.close` removes.
    With `oauth` the SASL listeners also take OAUTHBEARER tokens of the cluster's own issuer (`KafkaCluster.issuer`).
    With `authorizer` only super users (PLAINTEXT clients are `ANONYMOUS`) may do anything that no ACL allows.
    A crashed broker is missed after `session_timeout_ms` and cannot come back earlier; with Kafka's own 9000 a kill and
    restart takes 11 s instead of 5. `overrides` are lines of server.properties that win over ours.
    """

    brokers: int = 1
    sasl: bool = False
    oauth: bool = False
    tls: bool = False
    authorizer: bool = False
    port_base: int | None = None
    data_dir: Path | None = None
    users: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_USERS))
    super_users: tuple[str, ...] = ("ANONYMOUS", "admin")
    tls_client_auth: str = "requested"
    extra_host: str | None = None
    extra_protocol: str = "PLAINTEXT"
    session_timeout_ms: int = 4000
    heap_mib: int = 512
    quick_jvm: bool = False
    jvm_flags: tuple[str, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse what cannot work, with a sentence."""
        for is_wrong, message in (
            (self.brokers not in _BROKER_COUNTS, f"1 or 3 brokers are possible, not {self.brokers}."),
            (not self._has_possible_ports(), f"--port-base must be {_PORT_BASE_MIN} to {_PORT_BASE_MAX}."),
            (self.oauth and not self.sasl, "--oauth needs --sasl: tokens are shown on its listeners."),
            (not self.users, "At least one SASL user is needed."),
            (self.extra_protocol not in _LISTENER_ORDER[:1] + _LISTENER_ORDER[2:5],
             f"{self.extra_protocol} is no security protocol of Kafka."),
        ):  # fmt: skip
            if is_wrong:
                raise SettingsError(message)
        for text in (*self.users, *self.users.values()):
            if not _NAME.fullmatch(text):
                message = "Users and passwords may hold letters, digits, dot, underscore and hyphen only."
                raise SettingsError(message)

    def _has_possible_ports(self) -> bool:
        return self.port_base is None or _PORT_BASE_MIN <= self.port_base <= _PORT_BASE_MAX

    @property
    def node_ids(self) -> tuple[int, ...]:
        """1, or 1 to 3."""
        return tuple(range(1, self.brokers + 1))

    @property
    def listeners(self) -> dict[str, str]:
        """Listener name -> security protocol."""
        protocols = {"PLAINTEXT": "PLAINTEXT", CONTROLLER: "PLAINTEXT"}
        if self.sasl:
            protocols["SASL_PLAINTEXT"] = "SASL_PLAINTEXT"
        if self.tls:
            protocols["SSL"] = "SSL"
        if self.sasl and self.tls:
            protocols["SASL_SSL"] = "SASL_SSL"
        if self.extra_host is not None:
            protocols[EXTRA] = self.extra_protocol
        return protocols

    @property
    def needs_certificates(self) -> bool:
        """Whether any listener speaks TLS."""
        return any(protocol.endswith("SSL") for protocol in self.listeners.values())

    def host_of(self, listener: str) -> str:
        """Return the address a listener binds to and advertises."""
        return self.extra_host if listener == EXTRA and self.extra_host is not None else LOOPBACK

    def build_ports(self, free_ports: list[int] | None = None) -> dict[int, dict[str, int]]:
        """Return node id -> listener -> port, from `port_base` or from as many free ports as there are listeners."""
        if self.port_base is None:
            ports = iter(free_ports or [])
            return {node_id: {name: next(ports) for name in self.listeners} for node_id in self.node_ids}
        return {
            node_id: {
                name: self.port_base + (node_id - 1) * PORTS_PER_BROKER + _LISTENER_ORDER.index(name)
                for name in self.listeners
            }
            for node_id in self.node_ids
        }

    def to_json(self) -> dict[str, Any]:
        """Return what state.json keeps of the settings: all but the folder it lies in."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "data_dir"}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "ClusterSettings":
        """Read what `to_json` wrote."""
        lists: dict[str, Any] = {name: tuple(plain[name]) for name in ("super_users", "jvm_flags")}
        return cls(**(dict(plain) | lists))
