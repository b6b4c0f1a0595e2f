"""Certificates, the service account key, tokens, and the kubeconfig files made of them.

Keys and tokens are made once for a data folder and stay. Kubeconfig files are written at every start, since they hold
the address of the API server.
"""

import base64
import csv
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import yaml

from dev.certificates import TlsFiles, make_certificates
from dev.cluster.command_lines import SERVICE_ADDRESS
from dev.cluster.node_files import NODE_NAME
from dev.cluster.settings import CONTROLLER_MANAGER, KUBELET, NODE_ADDRESS, PROXY, SCHEDULER, Layout
from dev.errors import DevError, ToolMissingError

_NAME = "flowmachine-dev"
_ADMIN = "admin"
_TOKEN_BYTES = 24
# User -> groups. The rights of the system users come with the API server's own role bindings and its Node authorizer.
_USERS = {
    _ADMIN: "system:masters",
    f"system:{CONTROLLER_MANAGER}": "",
    f"system:{SCHEDULER}": "",
    f"system:{PROXY}": "",
    f"system:node:{NODE_NAME}": "system:nodes",
}
_FOLDERS = {f"system:node:{NODE_NAME}": KUBELET}


def make_credentials(layout: Layout) -> None:
    """Make what is missing of certificates, keys and tokens, and write all kubeconfig files."""
    openssl = shutil.which("openssl")
    if openssl is None:
        message = "No `openssl` on PATH, needed for certificates: install it (Debian: apt install openssl)."
        raise ToolMissingError(message)
    make_certificates(layout.tls, (SERVICE_ADDRESS, NODE_ADDRESS))
    _make_service_account_key(openssl, layout.service_account_key)
    tokens = _make_tokens(layout.tokens)
    for user, token in tokens.items():
        folder = _FOLDERS.get(user, user.removeprefix("system:"))
        target = layout.kubeconfig if user == _ADMIN else layout.kubeconfig_of(folder)
        _write_private(target, _build_kubeconfig(layout, user, token))


def read_admin_token(layout: Layout) -> str:
    """Return the token of the administrator; the credentials must have been made."""
    return _make_tokens(layout.tokens)[_ADMIN]


def _make_service_account_key(openssl: str, target: Path) -> None:
    if target.exists():
        return
    temporary = target.with_suffix(".tmp")
    # As "EC PRIVATE KEY": from the more common "PRIVATE KEY" the API server cannot take the public half.
    arguments = ("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(temporary))
    result = subprocess.run([openssl, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        message = f"openssl ecparam failed: {result.stderr.strip()}"
        raise DevError(message)
    temporary.rename(target)


def _make_tokens(path: Path) -> dict[str, str]:
    if not path.exists():
        lines = [f'{secrets.token_hex(_TOKEN_BYTES)},{user},{user},"{groups}"\n' for user, groups in _USERS.items()]
        _write_private(path, "".join(lines))
    with path.open(encoding="ascii", newline="") as stream:
        return {user: token for token, user, *_ in csv.reader(stream)}


def _build_kubeconfig(layout: Layout, user: str, token: str) -> str:
    authority = base64.b64encode(TlsFiles.inside(layout.tls).ca.read_bytes()).decode()
    cluster = {"server": layout.server, "certificate-authority-data": authority}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": user}}],
        "current-context": _NAME,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(text)
    temporary.rename(path)
