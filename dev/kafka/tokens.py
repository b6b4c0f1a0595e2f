"""An issuer of OAuth tokens for development: a key, the JWKS file that a broker checks tokens with, and signed tokens.

openssl does the cryptography, as it does for the certificates; one signature takes some milliseconds.
"""

import base64
import json
import shutil
import subprocess
import time
from pathlib import Path

from dev.errors import DevError, ToolMissingError

_KEY_ID = "dev"
_EXPONENT = "AQAB"  # 65537, which openssl takes unless told otherwise


class TokenIssuer:
    """Signs tokens; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._key = folder / "issuer.key"
        self.jwks = folder / "jwks.json"

    def make_key(self) -> None:
        """Make the key and its JWKS file, unless they exist."""
        if self.jwks.exists():  # written last
            return
        self._key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _openssl("genrsa", "-out", str(self._key), "2048")
        modulus = _openssl("rsa", "-noout", "-modulus", "-in", str(self._key)).decode().strip().partition("=")[2]
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": _KEY_ID, "e": _EXPONENT}
        self.jwks.write_text(json.dumps({"keys": [key | {"n": _encode(bytes.fromhex(modulus))}]}))

    def sign(self, subject: str, *, lifetime_seconds: float = 3600) -> str:
        """Return a token for a user; one with a negative lifetime is over already."""
        now = time.time()
        claims = {
            "iss": "flowmachine-dev",
            "sub": subject,
            "iat": int(now + min(lifetime_seconds, 0)) - 1,
            "exp": int(now + lifetime_seconds),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        signature = _openssl("dgst", "-sha256", "-sign", str(self._key), stdin=signed.encode())
        return f"{signed}.{_encode(signature)}"


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def _openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    openssl = shutil.which("openssl")
    if openssl is None:
        message = "No `openssl` on PATH, needed for OAuth: install it (Debian: apt install openssl)."
        raise ToolMissingError(message)
    result = subprocess.run([openssl, *arguments], input=stdin, capture_output=True, check=False)
    if result.returncode != 0:
        message = f"openssl {arguments[0]} failed: {result.stderr.decode(errors='replace').strip()}"
        raise DevError(message)
    return result.stdout
