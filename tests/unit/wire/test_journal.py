"""The journal says what a batch has moved and sent."""

import pytest

from flowmachine.errors import InvariantError
from flowmachine.wire.journal import FENCE_KEY, JOURNAL_KEY, Journal, decode_journal, encode_journal, is_control
from flowmachine.wire.log import OutputRecord

COMMAND = OutputRecord("commands", b"order-1", b"{}", None, (("flowmachine-command-id", b"order-1:1.0"),), 1_700)


def test_a_journal_comes_back_as_it_was() -> None:
    journal = Journal([("events", 3, 17), ("m.intake", 0, 2)], [COMMAND])
    found = decode_journal(encode_journal(journal))
    assert [tuple(each) for each in found.next_offsets] == journal.next_offsets
    (command,) = found.commands
    assert (command.topic, command.key, command.value, command.partition, command.timestamp) == (
        *("commands", b"order-1", b"{}"),
        *(None, 1_700),
    )
    assert [tuple(header) for header in command.headers] == list(COMMAND.headers)


def test_no_saga_has_the_key_of_a_control_record() -> None:
    assert is_control(JOURNAL_KEY)
    assert is_control(FENCE_KEY)
    assert not is_control(None)
    assert not is_control("ÿ-order".encode())
    with pytest.raises(UnicodeDecodeError):
        JOURNAL_KEY.decode()


def test_what_is_no_journal_is_an_error_of_ours() -> None:
    with pytest.raises(InvariantError, match="journal"):
        decode_journal(b"{}")
