"""The message that services speak, in both directions: `{"messageLabel": ..., "messagePayload": {...}}`.

Flow Manager's format, exact. Unknown fields are ignored; a payload that is absent or null is `{}`; a payload that is
anything but an object is refused.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar, final

import msgspec

from flowmachine.core.definition import Payload, PayloadText
from flowmachine.wire.log import Headers

T = TypeVar("T")

COMMAND_ID_HEADER = "flowmachine-command-id"
DEPTH_MAX = 200
"""Levels of nesting. JSON libraries recurse, so a bound of our own gives the same answer everywhere."""
_SHALLOW_BYTES = 2 * DEPTH_MAX
"""What is no longer than this is too short to be nested too deep."""


@final
class Message(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A command or an event that was read."""

    message_label: str
    message_payload: Payload = {}


class MalformedError(ValueError):
    """These bytes are not a message; the text says why in one sentence."""


@final
class MessageText(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A command or an event to write."""

    message_label: str
    message_payload: Payload | PayloadText


@final
class _Lenient(msgspec.Struct, gc=False, rename="camel"):
    message_label: str
    message_payload: Payload | None = None


_decode_strictly = msgspec.json.Decoder(Message).decode
_decode_leniently = msgspec.json.Decoder(_Lenient).decode
_encode = msgspec.json.Encoder().encode


def decode_message(value: bytes | None) -> Message:
    """The message in a record's value. Raises MalformedError."""
    if value and len(value) <= _SHALLOW_BYTES:
        try:
            return _decode_strictly(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass  # the way below says what is wrong, if anything is
    return decode_json(_decode, value)


def encode_message(label: str, payload: Payload | PayloadText) -> bytes:
    """A record's value for a command or an event."""
    return _encode(MessageText(label, payload))


def encode_command(label: str, payload: PayloadText) -> bytes:
    """The same for a command, of whose labels a machine has few."""
    return b"".join((_command_start(label), payload, b"}"))


@cache
def _command_start(label: str) -> bytes:
    return b'{"messageLabel":%b,"messagePayload":' % _encode(label)


def command_headers(key: bytes, seq: int, number: int) -> Headers:
    """The header by which a receiver knows a command that it has had: the `number`th of the saga's change `seq`."""
    return ((COMMAND_ID_HEADER, b"%b:%d.%d" % (key, seq, number)),)


def _decode(value: bytes) -> Message:
    try:
        return _decode_strictly(value)
    except msgspec.ValidationError:  # a payload that is null, or no message
        received = _decode_leniently(value)
        return Message(received.message_label, received.message_payload or {})


def decode_json(decode: Callable[[bytes], T], value: bytes | None) -> T:
    """Decode untrusted bytes; every way to fail is a MalformedError with a sentence for people."""
    if not value:
        raise MalformedError("the value is empty")
    if len(value) > _SHALLOW_BYTES and value.count(b"[") + value.count(b"{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise MalformedError(f"nested more than {DEPTH_MAX} levels deep")
    try:
        return decode(value)
    except msgspec.ValidationError as error:
        raise MalformedError(f"not a message: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"not JSON: {error}") from None


def _depth(value: bytes) -> int:
    deepest = depth = 0
    is_string = False
    skip = False
    for byte in value:
        if skip:
            skip = False
        elif byte == 0x5C:  # backslash
            skip = is_string
        elif byte == 0x22:  # quote
            is_string = not is_string
        elif not is_string:
            if byte in b"[{":
                depth += 1
                deepest = max(deepest, depth)
            elif byte in b"]}":
                depth -= 1
    return deepest
