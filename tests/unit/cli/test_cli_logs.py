"""Log lines: their form, what they leave out, and what brings a traceback."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from flowmachine.cli.logs import set_up_logging
from flowmachine.errors import TransientError

LOG = logging.getLogger("flowmachine.test")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    names = ("aiokafka", "aiohttp.server", "asyncio")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def logged(log_format: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(log_format=log_format, level=level, stream=stream)
    return stream


def fail(error: Exception) -> None:
    raise error


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line_has_time_level_logger_message_and_extra() -> None:
    stream = logged()
    LOG.info("partitions assigned", extra={"partitions": [0, 1], "lost": {3}})
    (line,) = lines(stream)
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert str(line["time"]).endswith("Z")
    assert line["level"] == "info"
    assert line["logger"] == "flowmachine.test"
    assert line["message"] == "partitions assigned"
    assert line["partitions"] == [0, 1]
    assert line["lost"] == "{3}"


def test_extra_fields_do_not_hide_our_own() -> None:
    stream = logged()
    LOG.info("hello", extra={"level": "mine", "time": 1})
    (line,) = lines(stream)
    assert line["level"] == "info"
    assert line["level_"] == "mine"


def test_whatever_is_logged_is_one_line_of_json() -> None:
    stream = logged()
    circle: list[object] = []
    circle.append(circle)
    LOG.info("two\nlines", extra={"odd": {("a", 1): circle, "half": "\ud800"}})
    assert len(lines(stream)) == 1


def test_auto_is_json_without_a_terminal() -> None:
    stream = logged("auto")
    LOG.info("hello")
    assert lines(stream)[0]["message"] == "hello"


def test_pretty_line_is_short_and_cannot_steer_the_terminal() -> None:
    stream = logged("pretty")
    LOG.warning("an\x1b[31m event\nof somebody", extra={"label": "a b", "number": 3})
    text = stream.getvalue()
    assert "warning" in text
    assert r"an\x1b[31m event\nof somebody" in text
    assert 'label="a b" number=3' in text
    assert text.count("\n") == 1
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_expected_error_has_no_traceback(log_format: str) -> None:
    stream = logged(log_format)
    try:
        fail(TransientError("the log is away"))
    except TransientError:
        LOG.exception("cannot go on")
    assert "the log is away" in stream.getvalue()
    assert "transient" in stream.getvalue()
    assert "Traceback" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_unexpected_error_has_a_traceback(log_format: str) -> None:
    stream = logged(log_format)
    try:
        fail(KeyError("bug"))
    except KeyError:
        LOG.exception("cannot go on")
    assert "Traceback" in stream.getvalue()
    if log_format == "json":
        assert "KeyError" in str(lines(stream)[0]["traceback"])


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_secrets_are_not_written(log_format: str) -> None:
    stream = logged(log_format)
    LOG.info(
        "connecting to mongodb://root:hunter2@db/orders",
        extra={
            "password": "hunter2",
            "options": {"sasl": {"username": "hunter2"}, "apiKey": ["hunter2"], "timeout": 3},
            "uri": "https://user:hunter2@host/",
            "list": [{"clientSecret": "hunter2"}],
        },
    )
    assert "hunter2" not in stream.getvalue()
    assert "timeout" in stream.getvalue()


def test_credentials_in_a_traceback_are_not_written() -> None:
    stream = logged()
    try:
        fail(ValueError("no answer from https://user:hunter2@host/"))
    except ValueError:
        LOG.exception("failed")
    assert "hunter2" not in stream.getvalue()


def test_aiokafka_is_silent_except_at_debug() -> None:
    stream = logged(level="info")
    logging.getLogger("aiokafka.producer.sender").error("retrying")
    assert stream.getvalue() == ""
    stream = logged(level="debug")
    logging.getLogger("aiokafka.producer.sender").warning("retrying")
    logging.getLogger("aiokafka.conn").debug("Request 1: SaslAuthenticate(...)")
    assert [line["message"] for line in lines(stream)] == ["retrying"]


def test_levels_have_the_names_of_flow_managers_logger() -> None:
    stream = logged(level="silent")
    LOG.critical("nobody hears this")
    assert stream.getvalue() == ""
    stream = logged(level="fatal")
    LOG.error("nor this")
    LOG.critical("but this")
    assert [line["message"] for line in lines(stream)] == ["but this"]
