"""A value that may be secret: a literal, a key of a Kubernetes Secret, or a file.

Parsing never opens anything: an adapter reads what is named here at run time. A literal is wrapped, so that no `repr`,
log line or dump shows it; only a dump with the context `{"reveal_secrets": True}` does.
"""

from typing import Annotated, Final

from pydantic import (
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    Strict,
    Tag,
    WrapSerializer,
)

from flowmachine.config.documents import as_object, is_array, is_object
from flowmachine.config.fields import FilePath, Model, ObjectName, SecretKeyName

MASK: Final = "**********"
REVEAL_SECRETS: Final = {"reveal_secrets": True}
"""Context of a dump that must be complete, such as a converted file. Never log its result."""


class SecretKey(Model):
    """One key of a Kubernetes Secret."""

    name: ObjectName = Field(description="Name of the Secret, in the FlowMachine's namespace.")
    key: SecretKeyName = Field(description="Key inside the Secret.")


class SecretKeyRef(Model):
    """A value in a Kubernetes Secret; the operator mounts it as a file."""

    secret_key_ref: SecretKey = Field(description="The Secret and the key that hold the value.")


class SecretFile(Model):
    """A value in a file that the engine reads at run time."""

    file: FilePath = Field(description="Path of the file that holds the value.")


def is_revealing(info: SerializationInfo) -> bool:
    """Whether a dump asked for secrets in the clear."""
    return as_object(info.context).get("reveal_secrets") is True


def _dump_literal(value: SecretStr, info: SerializationInfo) -> str:
    return value.get_secret_value() if is_revealing(info) else MASK


TAG_LITERAL: Final = "\x00literal"
TAG_SECRET_KEY_REF: Final = "\x00secretKeyRef"  # noqa: S105 - a tag, no password
TAG_SECRET_FILE: Final = "\x00file"  # noqa: S105 - a tag, no password
"""Tags begin with a NUL, so that they cannot be mistaken for a field when an error's location is read."""


def secret_form(value: object) -> str:
    """The tag of the form in which a secret value is written; what has no form at all counts as a literal."""
    if isinstance(value, SecretKeyRef) or "secretKeyRef" in as_object(value):
        return TAG_SECRET_KEY_REF
    if isinstance(value, SecretFile) or "file" in as_object(value):
        return TAG_SECRET_FILE
    return TAG_LITERAL


LiteralSecret = Annotated[SecretStr, Strict(), PlainSerializer(_dump_literal, return_type=str)]

SecretValue = Annotated[
    Annotated[LiteralSecret, Tag(TAG_LITERAL)]
    | Annotated[SecretKeyRef, Tag(TAG_SECRET_KEY_REF)]
    | Annotated[SecretFile, Tag(TAG_SECRET_FILE)],
    Discriminator(secret_form),
]


def mask_texts(value: object) -> object:
    """The same JSON value with every text replaced by a mask."""
    if isinstance(value, str):
        return MASK
    if is_object(value):
        return {key: mask_texts(item) for key, item in value.items()}
    if is_array(value):
        return [mask_texts(item) for item in value]
    return value


def _mask_whole(value: object, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> object:
    return handler(value) if is_revealing(info) else mask_texts(value)


MASKED: Final = WrapSerializer(_mask_whole)
"""For fields whose texts may all be secret: masked in a dump unless it asks for them. Give them `repr=False`, too."""
