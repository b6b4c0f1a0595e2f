"""What becomes of a saga that is brought from an export, given what is here."""

from enum import StrEnum

from flowmachine.wire.record import decode_saga


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


def judge_import(here: bytes | None, brought: bytes) -> ImportOutcome:
    """Judge two records of one saga. A saga that is here is never set back."""
    if here is None:
        return ImportOutcome.ADDED
    if here == brought:
        return ImportOutcome.UNCHANGED
    here_seq, brought_seq = decode_saga(here).seq, decode_saga(brought).seq
    if here_seq == brought_seq:
        return ImportOutcome.CONFLICT
    return ImportOutcome.NEWER_HERE if here_seq > brought_seq else ImportOutcome.REPLACED
