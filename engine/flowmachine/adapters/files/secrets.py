"""Secret values: literals as they are, all others from files. No message shows a value, every message names the path.

literal                       the text itself
{file: path}                  the file
{secretKeyRef: {name, key}}   the file `{secrets_dir}/{name}/{key}`, where the operator mounts the Secret
"""

from pathlib import Path
from typing import Final

from pydantic import SecretStr

from flowmachine.config.resource import SecretFile, SecretKeyRef, SecretValue
from flowmachine.errors import ConfigurationError

SECRET_BYTES_MAX: Final = 1024 * 1024
"""As much as a Kubernetes Secret can hold."""


def read_secret(value: SecretValue, secrets_dir: Path, *, where: str = "") -> str:
    """The secret text. One line break at its end is dropped: editors and `echo` put it there.

    `where` is the field path for problems. Raises ConfigurationError when there is no such file, or nothing that can be
    used in it.
    """
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    try:
        text = _read_text(_path_of(value, secrets_dir))
    except _UnusableError as error:
        raise ConfigurationError.of(where, error.code, error.message) from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


class _UnusableError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _path_of(value: SecretKeyRef | SecretFile, secrets_dir: Path) -> Path:
    if isinstance(value, SecretFile):
        return Path(value.file)
    name, key = value.secret_key_ref.name, value.secret_key_ref.key
    if "/" in name or ".." in (name, key) or "." in (name, key):
        raise _UnusableError("secret-name", f"{name}/{key} does not name a key of a Secret")
    return secrets_dir / name / key


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except FileNotFoundError:
        raise _UnusableError("secret-missing", f"the secret file {path} does not exist") from None
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a path"
        raise _UnusableError("secret-unreadable", f"the secret file {path} cannot be read: {detail}") from None
    if len(content) > SECRET_BYTES_MAX:
        raise _UnusableError("secret-too-large", f"the secret file {path} has more than {SECRET_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _UnusableError("secret-not-text", f"the secret file {path} is not UTF-8 text") from None
    if not text.strip("\r\n"):
        raise _UnusableError("secret-empty", f"the secret file {path} is empty")
    return text
