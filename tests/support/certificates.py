"""Certificates of all sorts, good and bad, made by openssl."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_EXTENSIONS = """\
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority in a folder of its own; `ca` is what others must trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._write_extensions("DNS:unused")
        self._make_request("ca", None)
        self._openssl("x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-days", "30", "-out", "ca.pem",
                      "-extfile", "extensions.cnf", "-extensions", "authority")  # fmt: skip

    def issue(
        self, name: str, *, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 30, passphrase: str | None = None
    ) -> Certificate:
        """Make a certificate; one of negative `days` has expired. With a passphrase its key is encrypted."""
        self._write_extensions(names)
        self._make_request(name, passphrase)
        start = "-set_serial", str(abs(hash(name)) % 10**9 + 1)
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", *start,
                      "-days", str(days), "-out", f"{name}.pem",
                      "-extfile", "extensions.cnf", "-extensions", "leaf")  # fmt: skip
        return Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def _write_extensions(self, names: str) -> None:
        (self._folder / "extensions.cnf").write_text(_EXTENSIONS.format(names=names))

    def _make_request(self, name: str, passphrase: str | None) -> None:
        self._openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", f"{name}.key")
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        if passphrase is not None:
            self._openssl("pkey", "-in", f"{name}.key", "-aes256", "-passout", f"pass:{passphrase}", "-out", "locked")
            (self._folder / "locked").rename(self._folder / f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        result = subprocess.run(
            ["openssl", *arguments], cwd=self._folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert result.returncode == 0, f"openssl {arguments[0]}: {result.stderr}"


def server_context(certificate: Certificate, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """A server's context; with `client_ca` clients must have a certificate of that authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.load_cert_chain(certificate.cert, certificate.key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
