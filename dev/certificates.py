"""A certificate authority of our own, a server and a client certificate, made by openssl in a tenth of a second.

All files are PEM, which both Kafka (keystore type PEM) and Python's ssl module read as they are.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dev.errors import DevError, ToolMissingError

_DAYS = "365"
_CONFIGURATION = """\
[req]
distinguished_name = name
prompt = no
[name]
CN = {common_name}
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alternative_names}
[client]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files are; they exist once `make_certificates` has returned."""

    ca: Path
    client_certificate: Path
    client_key: Path
    server_bundle: Path

    @classmethod
    def inside(cls, folder: Path) -> "TlsFiles":
        """Name the files of a folder."""
        return cls(folder / "ca.pem", folder / "client.pem", folder / "client.key", folder / "server-bundle.pem")


def make_certificates(folder: Path, extra_hosts: tuple[str, ...] = ()) -> TlsFiles:
    """Make CA, server certificate (localhost, 127.0.0.1, extra addresses) and client certificate, unless they exist."""
    files = TlsFiles.inside(folder)
    if files.server_bundle.exists():  # written last
        return files
    openssl = shutil.which("openssl")
    if openssl is None:
        message = "No `openssl` on PATH, needed for TLS: install it (Debian: apt install openssl)."
        raise ToolMissingError(message)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    maker = _Maker(openssl, folder, tuple(dict.fromkeys(("127.0.0.1", *extra_hosts))))
    maker.make_authority()
    maker.make_signed("server")
    maker.make_signed("client")
    parts = ("server.key", "server.pem", "ca.pem")
    files.server_bundle.write_text("".join((folder / part).read_text() for part in parts))
    return files


@dataclass(frozen=True, slots=True)
class _Maker:
    openssl: str
    folder: Path
    addresses: tuple[str, ...]

    def make_authority(self) -> None:
        configuration = self._configure("flowmachine-dev-ca")
        self._run("req", "-x509", *self._new_key("ca"), "-config", configuration, "-extensions", "authority",
                  "-days", _DAYS, "-out", "ca.pem")  # fmt: skip

    def make_signed(self, role: str) -> None:
        configuration = self._configure(f"flowmachine-dev-{role}")
        self._run("req", "-new", *self._new_key(role), "-config", configuration, "-out", f"{role}.csr")
        self._run("x509", "-req", "-in", f"{role}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                  "-extfile", configuration, "-extensions", role, "-days", _DAYS, "-out", f"{role}.pem")  # fmt: skip

    def _new_key(self, role: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{role}.key")

    def _configure(self, common_name: str) -> str:
        names = ", ".join(["DNS:localhost", *(f"IP:{address}" for address in self.addresses)])
        text = _CONFIGURATION.format(common_name=common_name, alternative_names=names)
        (self.folder / "openssl.cnf").write_text(text)
        return "openssl.cnf"

    def _run(self, *arguments: str) -> None:
        result = subprocess.run(
            [self.openssl, *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            message = f"openssl {arguments[0]} failed: {result.stderr.strip()}"
            raise DevError(message)
