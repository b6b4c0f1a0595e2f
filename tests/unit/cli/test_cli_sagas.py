"""`flowmachine sagas`: options, tables and timelines; the commands against an engine are in tests/integration."""

import argparse
import time

import pytest

from flowmachine.cli.main import main
from flowmachine.cli.sagas.client import EventEntry, StateEntry
from flowmachine.cli.sagas.filters import add_filter_options, build_query, parse_time
from flowmachine.cli.sagas.text import age, column_widths, saga_row, table_line, timeline
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.wire.listing import SagaSummary

NOW = "2026-01-03T00:00:00.000Z"
NOW_MS = parse_timestamp(NOW)
SAGA = SagaSummary(
    saga_id="0f0e8a54-0000-4000-8000-000000000001",
    associated_entity_id="order-7",
    current_state="paid",
    business_state_id=2,
    business_state_description="in progress",
    is_final=False,
    latest_event="paymentExecuted",
    seq=2,
    created_at="2026-01-01T00:00:00.000Z",
    updated_at="2026-01-02T23:59:15.000Z",
)


def query_of(*arguments: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_filter_options(parser)
    return build_query(parser.parse_args(arguments))


def test_only_given_filters_are_asked_for() -> None:
    assert query_of() == {}
    assert query_of("--no-finished", "--entity", "") == {"finished": "false", "entity": ""}
    arguments = ("--finished", "--state", "a", "--business-state", "2", "--updated-before", "2026-01-31T12:00:00+01:00")
    assert query_of(*arguments) == {
        "finished": "true",
        "state": "a",
        "businessState": "2",
        "updatedBefore": "2026-01-31T11:00:00.000Z",
    }


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("0s", 0)])
def test_duration_is_a_time_ago(text: str, seconds: int) -> None:
    before_ms = time.time() * 1000
    found_ms = parse_timestamp(parse_time(text)) + seconds * 1000
    assert before_ms - 1 <= found_ms <= time.time() * 1000 + 1


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-5m", "5w", "2026-13-01", "1h30m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither a duration"):
        parse_time(text)


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        (NOW, "0s"),
        ("2026-01-03T00:00:05.000Z", "0s"),
        ("2026-01-02T23:58:01.000Z", "119s"),
        ("2026-01-02T23:58:00.000Z", "2m"),
        ("2026-01-02T22:00:00.000Z", "2h"),
        ("2026-01-01T00:00:00.000Z", "2d"),
        ("", "?"),
    ],
)
def test_age_has_one_unit(timestamp: str, expected: str) -> None:
    assert age(timestamp, NOW_MS) == expected


def test_narrow_terminal_shortens_everything_but_ids() -> None:
    rows = [saga_row(SAGA, NOW_MS)]
    wide, narrow = column_widths(rows, None), column_widths(rows, 95)
    assert wide[0] == narrow[0] == len(SAGA.saga_id)
    cells = [cell.strip() for cell in str(table_line(rows[0], wide)).split("  ") if cell]
    assert cells == [SAGA.saga_id, "paid", "in progress", "order-7", "paymentExecuted", "2d", "45s"]
    line = str(table_line(rows[0], narrow))
    assert line.startswith(SAGA.saga_id)
    assert "…" in line
    assert sum(narrow) + 2 * (len(narrow) - 1) <= 95


def test_text_of_a_saga_cannot_move_the_cursor() -> None:
    row = ("id", "st\x1b[2Jate", "a\nb", "e", "l", "1s", "1s")
    assert "\x1b" not in str(table_line(row, column_widths([row], None)))
    assert "\n" not in str(table_line(row, column_widths([row], None)))


def test_timeline_tells_when_what_came_and_where_it_led() -> None:
    states = [
        StateEntry("created", "2026-01-01T00:00:00.000Z", 1, "placed"),
        StateEntry("paid", "2026-01-01T00:00:00.250Z"),
        StateEntry("sent", "2026-01-01T03:00:00.250Z"),
        StateEntry("late", "not a time"),
    ]
    events = [
        EventEntry(label, state.timestamp) for label, state in zip(("new", "paymentExecuted"), states, strict=False)
    ]
    lines = [str(line) for line in timeline(states, events)]
    assert lines[:3] == [
        "  2026-01-01T00:00:00.000Z            new              → created  (placed)",
        "  2026-01-01T00:00:00.250Z   +0.250s  paymentExecuted  → paid",
        "  2026-01-01T03:00:00.250Z     +3.0h                   → sent",
    ]
    assert lines[3].split() == ["not", "a", "time", "→", "late"]
    assert len(list(timeline(states, events, shown=3))) == 1


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://", "http://localhost:port"])
def test_url_that_is_none_is_a_sentence(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sagas", "list", "--url", url]) == 1
    assert "--url" in capsys.readouterr().err


def test_engine_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sagas", "get", "order-1", "--url", "http://127.0.0.1:1"]) == 1
    err = capsys.readouterr().err
    assert "no engine answers at http://127.0.0.1:1 (Connection refused)" in err
    assert "Traceback" not in err


def test_id_and_filters_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sagas", "watch", "order-1", "--state", "paid", "--url", "http://127.0.0.1:1"]) == 2
    assert "do not go together" in capsys.readouterr().err
