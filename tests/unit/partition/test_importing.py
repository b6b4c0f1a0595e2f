import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowmachine.partition.importing import WRITTEN, ImportOutcome, judge_import, mark_imported
from flowmachine.wire.export import (
    ExportedSaga,
    ExportEnd,
    ExportError,
    ExportHead,
    build_exported,
    decode_export_head,
    decode_export_line,
    encode_line,
)
from flowmachine.wire.record import decode_saga, encode_saga
from tests.support.builders import order_machine, saga_after

ORDERS = order_machine()
PATH = ("paymentExecuted", "orderPrepared", "orderDelivered")
RECORDS = [encode_saga(saga_after(ORDERS, *PATH[:count])) for count in range(4)]
OTHER_WAY = encode_saga(saga_after(ORDERS, "paymentFailed"))


@pytest.mark.parametrize(
    ("here", "brought", "expected"),
    [
        (None, RECORDS[1], ImportOutcome.ADDED),
        (RECORDS[0], RECORDS[1], ImportOutcome.REPLACED),
        (RECORDS[1], RECORDS[1], ImportOutcome.UNCHANGED),
        (RECORDS[2], RECORDS[1], ImportOutcome.NEWER_HERE),
        (OTHER_WAY, RECORDS[1], ImportOutcome.CONFLICT),
    ],
)
def test_saga_here_is_never_set_back(here: bytes | None, brought: bytes, expected: ImportOutcome) -> None:
    assert judge_import(here, brought) is expected


@given(brought=st.lists(st.sampled_from([*RECORDS, OTHER_WAY])))
def test_importing_twice_is_importing_once(brought: list[bytes]) -> None:
    here: bytes | None = None
    for record in brought:
        before = here
        if judge_import(here, record) in WRITTEN:
            here = record
            assert before is None or decode_saga(before).seq < decode_saga(here).seq
    assert all(judge_import(here, record) not in WRITTEN for record in brought)


@pytest.mark.parametrize("here", [RECORDS[1], mark_imported(RECORDS[1])])
def test_import_is_marked_and_neither_that_nor_the_original_is_a_conflict(here: bytes) -> None:
    brought = mark_imported(RECORDS[1])
    assert decode_saga(brought).earlier_revisions == ("imported",)
    assert mark_imported(brought) == brought
    assert judge_import(here, brought) is ImportOutcome.UNCHANGED


def test_record_comes_back_byte_for_byte() -> None:
    line = encode_line(build_exported("örder-1".encode(), RECORDS[2]))
    assert line.count(b"\n") == 1
    exported = decode_export_line(line)
    assert type(exported) is ExportedSaga
    assert (exported.saga_id, bytes(exported.record)) == ("örder-1", RECORDS[2])


def test_record_of_several_lines_becomes_one() -> None:
    line = encode_line(build_exported(b"order-1", msgspec.json.format(RECORDS[2], indent=2)))
    assert line.count(b"\n") == 1
    exported = decode_export_line(line)
    assert type(exported) is ExportedSaga
    assert decode_saga(bytes(exported.record)).seq == 3


def test_head_and_end_say_what_it_is() -> None:
    head = ExportHead(1, "orders", "abc", "2026-01-31T12:00:00.000Z")
    assert decode_export_head(encode_line(head)) == head
    assert decode_export_line(encode_line(ExportEnd(7))) == ExportEnd(7)


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff", b'{"sagaId":"a"}', b"[1]"])
def test_other_files_are_told_apart(line: bytes) -> None:
    with pytest.raises(ExportError, match="no export of sagas"):
        decode_export_head(line)


def test_later_version_is_told_apart() -> None:
    with pytest.raises(ExportError, match="version 2"):
        decode_export_head(encode_line(ExportHead(2, "orders", "abc", "")))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not a line"),
        (b"{", "not a line"),
        (b'{"sagaId":"a"}', "record"),
        (b'{"sagaId":7,"record":{}}', "sagaId"),
        (b'{"sagaId":"a","record":{"v":1}}', "cannot be read"),
        (b'{"sagaId":"a","record":' + RECORDS[0].replace(b'"v":1', b'"v":9') + b"}", "version 9"),
        (b'{"sagaId":"","record":' + RECORDS[0] + b"}", "no id"),
        (b'{"sagas":"many"}', "not a line"),
    ],
)
def test_damaged_lines_are_told_apart(line: bytes, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        decode_export_line(line)
