"""The webhook's certificate: given in a folder, or made by the operator and kept in a Secret for all operators.

A made one signs itself. It is renewed when a third of its life is left: the Secret then holds the new one, and in
`ca.crt` both, so that the API server trusts an operator that has not changed over yet.
"""

import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = timedelta(days=90)
RENEWED_BEFORE: Final = LIFETIME / 3
_CLOCKS_DIFFER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts."""

    chain: str
    key: str = field(repr=False)
    authorities: str = ""
    """What the API server trusts; empty for a given certificate, whose giver says that."""


def make_certificate(names: tuple[str, ...], now: datetime, *, before: str = "") -> Certificate:
    """A certificate for these DNS names; `before`: the one that it follows, which stays trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flowmachine-operator")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(chain, private.decode(), chain + before)


def is_good(certificate: Certificate, names: tuple[str, ...], now: datetime) -> bool:
    """Whether a made certificate can be used, and will be for a while."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.chain.encode())
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        serialization.load_pem_private_key(certificate.key.encode(), password=None)
    except (ValueError, x509.ExtensionNotFound):
        return False
    is_named = set(names) <= set(found.get_values_for_type(x509.DNSName))
    is_trusted = certificate.chain.strip() in certificate.authorities
    return is_named and is_trusted and parsed.not_valid_after_utc - RENEWED_BEFORE > now


def use_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    """New connections of the context get this certificate. Raises ssl.SSLError for one that cannot be used."""
    # Python's ssl module takes certificates from files only: a private one, gone before we return.
    with tempfile.NamedTemporaryFile("w", prefix="flowmachine-", suffix=".pem") as file:
        file.write(f"{certificate.key}\n{certificate.chain}\n")
        file.flush()
        # First elsewhere: a certificate whose key does not fit would leave the context with neither.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file.name)
        context.load_cert_chain(file.name)
