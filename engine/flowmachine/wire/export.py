"""The file of an export: JSON lines. The first line says what it is, the last one how many sagas it has.

    {"flowmachineExport":1,"machine":"orders","revision":"4795c4d3d88c","exportedAt":"2026-01-31T12:00:00.000Z"}
    {"sagaId":"order-1","record":{"v":1,"seq":2,...}}
    {"sagas":1}

A record is that of the `sagas` topic, byte for byte. A file without its last line was cut off.
"""

from typing import Final, final

import msgspec

from flowmachine.errors import InvariantError
from flowmachine.wire.record import decode_saga

EXPORT_VERSION: Final = 1


class ExportError(ValueError):
    """A line of an export that is not as it should be; the text says why."""


@final
class ExportHead(msgspec.Struct, frozen=True, rename="camel"):
    """The first line."""

    flowmachine_export: int
    machine: str
    revision: str
    exported_at: str


@final
class ExportedSaga(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A saga; `record` is its record's value."""

    saga_id: str
    record: msgspec.Raw


@final
class ExportEnd(msgspec.Struct, frozen=True):
    """The last line."""

    sagas: int


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(ExportHead).decode
_decode_saga_line = msgspec.json.Decoder(ExportedSaga).decode
_decode_end = msgspec.json.Decoder(ExportEnd).decode
_END_PREFIX: Final = b'{"sagas":'


def encode_line(line: ExportHead | ExportedSaga | ExportEnd) -> bytes:
    """A line with its end."""
    return _encode(line) + b"\n"


def build_exported(key: bytes, record: bytes) -> ExportedSaga:
    """The line of a saga. A record that somebody wrote over several lines comes in one."""
    return ExportedSaga(
        key.decode(), msgspec.Raw(msgspec.json.format(record, indent=-1) if b"\n" in record else record)
    )


def decode_export_head(line: bytes) -> ExportHead:
    """The first line. Raises ExportError."""
    try:
        head = _decode_head(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise ExportError("this is no export of sagas: its first line does not say so") from None
    if head.flowmachine_export != EXPORT_VERSION:
        version = head.flowmachine_export
        raise ExportError(f"the export has version {version}, and this FlowMachine knows {EXPORT_VERSION}")
    return head


def decode_export_line(line: bytes) -> ExportedSaga | ExportEnd:
    """A line after the first, with a saga that can be read. Raises ExportError."""
    try:
        if line.startswith(_END_PREFIX):
            return _decode_end(line)
        exported = _decode_saga_line(line)
        decode_saga(bytes(exported.record))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ExportError(f"it is not a line of an export: {error}") from None
    except InvariantError as error:
        raise ExportError(f"its saga cannot be read: {error}") from None
    if not exported.saga_id:
        raise ExportError("its saga has no id")
    return exported
