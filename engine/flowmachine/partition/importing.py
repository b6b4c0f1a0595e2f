"""What becomes of a saga that is brought from an export, given what is here."""

from enum import StrEnum

import msgspec

from flowmachine.core.saga import IMPORTED, add_revision
from flowmachine.wire.record import decode_saga, encode_saga


class ImportOutcome(StrEnum):
    """The values are what people and scripts see."""

    ADDED = "added"
    """It was not here."""
    REPLACED = "replaced"
    """What was here had gone less far."""
    UNCHANGED = "unchanged"
    """The same saga is here."""
    NEWER_HERE = "newer-here"
    """What is here has gone further, and stays."""
    CONFLICT = "conflict"
    """What is here has gone as far, by another way, and stays."""


WRITTEN = frozenset({ImportOutcome.ADDED, ImportOutcome.REPLACED})


def mark_imported(exported: bytes) -> bytes:
    """The record that comes into the log: it says that not all of its past is here. Doing it twice changes nothing."""
    saga = decode_saga(exported)
    if IMPORTED in saga.earlier_revisions:
        return exported
    return encode_saga(msgspec.structs.replace(saga, earlier_revisions=add_revision(saga, IMPORTED)))


def judge_import(here: bytes | None, brought: bytes) -> ImportOutcome:
    """Judge the record of a saga, and the one that is to come in. A saga that is here is never set back."""
    if here is None:
        return ImportOutcome.ADDED
    if brought in (here, mark_imported(here)):
        return ImportOutcome.UNCHANGED
    here_seq, brought_seq = decode_saga(here).seq, decode_saga(brought).seq
    if here_seq == brought_seq:
        return ImportOutcome.CONFLICT
    return ImportOutcome.NEWER_HERE if here_seq > brought_seq else ImportOutcome.REPLACED
