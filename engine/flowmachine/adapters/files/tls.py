"""TLS as written in a machine: certificates and keys are PEM texts, read from wherever their values are kept."""

import ssl
import tempfile
from pathlib import Path

from flowmachine.adapters.files.secrets import read_secret
from flowmachine.config.resource import SecretValue, Tls
from flowmachine.errors import ConfigurationError


def read_tls(tls: Tls | None, secrets_dir: Path, *, where: str) -> ssl.SSLContext | None:
    """The context for a connection, or None when it is in the clear.

    `where` is the field path for problems. Raises ConfigurationError for a value that cannot be read or is no PEM.
    """
    if tls is None or not tls.enabled:
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    try:
        if tls.ca is not None:
            context.load_verify_locations(cadata=read_secret(tls.ca, secrets_dir))
        if tls.cert is not None and tls.key is not None:
            _load_client_certificate(context, tls, tls.cert, tls.key, secrets_dir)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        text = (
            f"the certificates cannot be used ({reason}); each value must be a PEM text, the passphrase that of the key"
        )
        raise ConfigurationError.of(where, "tls", text) from None
    return context


def _load_client_certificate(
    context: ssl.SSLContext, tls: Tls, cert: SecretValue, key: SecretValue, secrets_dir: Path
) -> None:
    passphrase = read_secret(tls.passphrase, secrets_dir) if tls.passphrase is not None else ""
    # Python's ssl module takes client certificates from files only: a private one, gone before we return.
    with tempfile.NamedTemporaryFile("w", prefix="flowmachine-", suffix=".pem") as file:
        file.write(read_secret(cert, secrets_dir) + "\n" + read_secret(key, secrets_dir) + "\n")
        file.flush()
        context.load_cert_chain(file.name, password=lambda: passphrase)
