"""TLS as written in a machine: certificates and keys are PEM texts, read from wherever their values are kept."""

import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from flowmachine.adapters.files.secrets import read_secret
from flowmachine.config.resource import SecretValue, Tls
from flowmachine.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TlsTexts:
    """What `Tls` stands for, read: comparing two of them tells whether a certificate was replaced."""

    ca: str | None = field(default=None, repr=False)
    cert: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


def read_tls(tls: Tls | None, secrets_dir: Path, *, where: str) -> TlsTexts | None:
    """The certificates' texts, or None when the connection is in the clear.

    `where` is the field path for problems. Raises ConfigurationError for a value that cannot be read.
    """
    if tls is None or not tls.enabled:
        return None

    def read(value: SecretValue | None, name: str) -> str | None:
        return None if value is None else read_secret(value, secrets_dir, where=f"{where}.{name}")

    return TlsTexts(
        ca=read(tls.ca, "ca"),
        cert=read(tls.cert, "cert"),
        key=read(tls.key, "key"),
        passphrase=read(tls.passphrase, "passphrase"),
    )


def build_tls_context(texts: TlsTexts | None, *, where: str, trusts_system: bool = False) -> ssl.SSLContext | None:
    """A client's context; None for a connection in the clear.

    With a `ca` nothing else is trusted, unless `trusts_system`: then both are.

    Raises ConfigurationError for a text that is no PEM, and for a key that does not fit its certificate or passphrase.
    """
    if texts is None:
        return None
    try:
        context = ssl.create_default_context(cadata=None if trusts_system else texts.ca)
        if trusts_system and texts.ca is not None:
            context.load_verify_locations(cadata=texts.ca)
        if texts.cert is not None and texts.key is not None:
            _load_client_certificate(context, texts.cert, texts.key, texts.passphrase or "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        text = (
            f"the certificates cannot be used ({reason}); each value must be a PEM text, the passphrase that of the key"
        )
        raise ConfigurationError.of(where, "tls", text) from None
    return context


def _load_client_certificate(context: ssl.SSLContext, cert: str, key: str, passphrase: str) -> None:
    # Python's ssl module takes client certificates from files only: a private one, gone before we return.
    with tempfile.NamedTemporaryFile("w", prefix="flowmachine-", suffix=".pem") as file:
        file.write(f"{cert}\n{key}\n")
        file.flush()
        context.load_cert_chain(file.name, password=lambda: passphrase)
