"""Channels as written: how commands leave and how events come in."""

from typing import Annotated
from typing import Literal as OneOf

from pydantic import BeforeValidator, Discriminator, Field, StrictBool, StrictStr, StringConstraints, Tag

from flowmachine.config.fields import BrokerAddress, HeaderName, Host, Id, Model, Port, TopicName, UrlPath
from flowmachine.config.secret_value import (
    TAG_LITERAL,
    TAG_SECRET_FILE,
    TAG_SECRET_KEY_REF,
    SecretFile,
    SecretKeyRef,
    SecretValue,
    secret_form,
)

TAG_BROKERS = "\x00brokers"


def split_brokers(value: object) -> object:
    """A comma-separated text becomes the list that it stands for; anything else stays as it is."""
    if isinstance(value, str):
        return [address.strip() for address in value.split(",") if address.strip()]
    return value


def _brokers_form(value: object) -> str:
    form = secret_form(value)
    return TAG_BROKERS if form == TAG_LITERAL else form


_BrokerList = Annotated[tuple[BrokerAddress, ...], Field(min_length=1, max_length=100)]

Brokers = Annotated[
    Annotated[
        Annotated[_BrokerList, Tag(TAG_BROKERS)]
        | Annotated[SecretKeyRef, Tag(TAG_SECRET_KEY_REF)]
        | Annotated[SecretFile, Tag(TAG_SECRET_FILE)],
        Discriminator(_brokers_form),
    ],
    BeforeValidator(split_brokers, json_schema_input_type=str | _BrokerList | SecretKeyRef | SecretFile),
]
"""Addresses `host:port`; a comma-separated text has become a tuple. A secret's content is such a text."""


class Tls(Model):
    """TLS of a connection; the certificates are PEM texts."""

    enabled: StrictBool = Field(default=True, description="Whether the connection uses TLS.")
    ca: SecretValue | None = Field(default=None, description="Certificates to trust instead of the system's (PEM).")
    cert: SecretValue | None = Field(default=None, description="Client certificate (PEM).")
    key: SecretValue | None = Field(default=None, description="Private key of the client certificate (PEM).")
    passphrase: SecretValue | None = Field(default=None, description="Passphrase of the private key.")


class Sasl(Model):
    """How the engine authenticates to Kafka."""

    mechanism: OneOf["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"] = Field(
        description="SASL mechanism. `oauthbearer` needs `token`, or `tokenEndpoint`, `clientId` and `clientSecret`; "
        "all others need `username` and `password`."
    )
    username: SecretValue | None = Field(default=None, description="User name.")
    password: SecretValue | None = Field(default=None, description="Password.")
    token: SecretValue | None = Field(
        default=None,
        description="The token that is shown to the brokers (`oauthbearer`). A file is read anew for every connection.",
    )
    token_endpoint: StrictStr | None = Field(
        default=None,
        description="URL that gives tokens for client credentials (`oauthbearer`). It is trusted if the system, or the "
        "`ca` of the channel's `tls`, vouches for it.",
        max_length=2048,
    )
    client_id: SecretValue | None = Field(default=None, description="OAuth client id (`oauthbearer`).")
    client_secret: SecretValue | None = Field(default=None, description="OAuth client secret (`oauthbearer`).")
    scope: StrictStr | None = Field(default=None, description="OAuth scope (`oauthbearer`).", max_length=2048)


class KafkaChannel(Model):
    """Topics of one Kafka cluster; all Kafka channels of a machine name the same cluster."""

    brokers: Brokers = Field(
        description="Addresses `host:port` of the brokers, as a list or as one comma-separated text."
    )
    input_topics: tuple[TopicName, ...] = Field(
        default=(), description="Topics from which events are read.", max_length=100
    )
    output_topics: tuple[TopicName, ...] = Field(
        default=(), description="Topics to which commands are written.", max_length=100
    )
    consumer_group: Annotated[StrictStr, StringConstraints(min_length=1, max_length=255)] | None = Field(
        default=None, description="Consumer group that reads the input topics; needed when there are any."
    )
    tls: Tls | None = Field(default=None, description="TLS to the brokers; without it connections are in the clear.")
    sasl: Sasl | None = Field(default=None, description="Authentication to the brokers.")


class RestChannel(Model):
    """An HTTP endpoint that is called with each command; any 2xx is success."""

    protocol: OneOf["http", "https"] = Field(default="http", description="Protocol of the endpoint.")
    host: Host = Field(description="Host name or address of the endpoint.")
    port: Port | None = Field(default=None, description="Port; by default the protocol's own.")
    path: UrlPath = Field(default="/", description="Path of the endpoint.")
    method: OneOf["POST", "PUT", "PATCH"] = Field(default="POST", description="HTTP method.")
    headers: dict[HeaderName, SecretValue] = Field(
        default_factory=dict, description="Headers to send, each with its value.", max_length=64
    )
    tls: Tls | None = Field(default=None, description="Certificates for `https`.")


class Channel(Model):
    """A way to the services: either `kafka` or `rest`."""

    id: Id = Field(description="Id of the channel, unique in the machine; commands name it.")
    kafka: KafkaChannel | None = Field(default=None, description="A channel over Kafka topics.")
    rest: RestChannel | None = Field(default=None, description="A channel over HTTP; carries commands only.")
