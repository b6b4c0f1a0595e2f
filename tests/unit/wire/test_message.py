import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowmachine.core.definition import Payload
from flowmachine.core.payload import encode_payload
from flowmachine.wire.intake import Creation, decode_creation, encode_creation
from flowmachine.wire.message import (
    DEPTH_MAX,
    MalformedError,
    Message,
    decode_message,
    encode_command,
    encode_message,
)
from tests.support.strategies import json_values, junk_values, payloads, texts


def nested(levels: int) -> bytes:
    """A message whose value is nested `levels` deep: the message, its payload, and arrays."""
    return b'{"messageLabel":"a","messagePayload":{"n":' + b"[" * (levels - 2) + b"]" * (levels - 2) + b"}}"


@pytest.mark.parametrize(
    "value",
    [
        b'{"messageLabel":"paid","messagePayload":{"a":1}}',
        b' {\n "messagePayload" : {"a": 1} , "messageLabel" : "paid" }\n',
        b'{"messageLabel":"paid","messagePayload":{"a":1},"extra":{"deep":[1,2]},"key":null}',
        b'{"messageLabel":"\\u0070aid","messagePayload":{"a":1}}',
        b'{"messageLabel":"other","messageLabel":"paid","messagePayload":{"b":2},"messagePayload":{"a":0,"a":1}}',
    ],
    ids=["plain", "spaces and order", "extra fields", "escapes", "last of duplicate keys"],
)
def test_message_is_read_as_clients_write_it(value: bytes) -> None:
    assert decode_message(value) == Message("paid", {"a": 1})


@pytest.mark.parametrize("rest", [b"", b',"messagePayload":null', b',"messagePayload":{}'])
def test_payload_that_is_absent_or_null_is_an_empty_object(rest: bytes) -> None:
    assert decode_message(b'{"messageLabel":"paid"' + rest + b"}") == Message("paid", {})


@pytest.mark.parametrize("payload", [b"[]", b"[{}]", b'"text"', b"0", b"1.5", b"true", b"false"])
def test_payload_that_is_no_object_is_refused_with_its_place(payload: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not a message: Expected `object \| null`.*messagePayload"):
        decode_message(b'{"messageLabel":"paid","messagePayload":' + payload + b"}")


@pytest.mark.parametrize("label", [b"null", b"1", b"{}", b'["paid"]', b"true"])
def test_label_that_is_no_text_is_refused_with_its_place(label: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not a message: Expected `str`.*messageLabel"):
        decode_message(b'{"messageLabel":' + label + b"}")


def test_message_without_label_is_refused() -> None:
    with pytest.raises(MalformedError, match=r"^not a message: .*messageLabel"):
        decode_message(b'{"messagePayload":{}}')


@pytest.mark.parametrize("value", [b"[]", b"null", b'"text"', b"1", b'[{"messageLabel":"a"}]'])
def test_value_that_is_no_object_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not a message: Expected `object`"):
        decode_message(value)


@pytest.mark.parametrize("value", [None, b""])
def test_absent_value_is_refused(value: bytes | None) -> None:
    with pytest.raises(MalformedError, match=r"^the value is empty$"):
        decode_message(value)


@pytest.mark.parametrize(
    "value",
    [
        b" ",
        b"{",
        b"paid",
        b"\x00",
        b'\xef\xbb\xbf{"messageLabel":"a"}',
        b'{"messageLabel":"a"} {}',
        b"{'messageLabel':'a'}",
        b'{"messageLabel":"a",}',
        b'{"messageLabel":"a","messagePayload":{"n":NaN}}',
        b'{"messageLabel":"a\nb"}',
        b'{"messageLabel":"\xff"}',
        b'{"messageLabel":"\xed\xa0\x80"}',
        b'{"messageLabel":"a","messagePayload":{"\xc3":1}}',
        b'{"messageLabel":"\\ud800"}',
        b'{"messageLabel":"a","messagePayload":{"n":"\\udc00 alone"}}',
        '{"messageLabel":"a"}'.encode("utf-16"),
    ],
    ids=[
        "blank",
        "cut off",
        "no JSON",
        "NUL",
        "BOM",
        "two values",
        "single quotes",
        "trailing comma",
        "NaN",
        "raw line break",
        "not UTF-8",
        "surrogate as bytes",
        "field name not UTF-8",
        "half a surrogate pair",
        "half a surrogate pair within",
        "UTF-16",
    ],
)
def test_value_that_is_not_json_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not JSON: "):
        decode_message(value)


# --- depth ------------------------------------------------------------------------------------------------------------


def test_value_may_be_nested_as_deep_as_the_bound() -> None:
    assert decode_message(nested(DEPTH_MAX)).message_label == "a"


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 100_000])
def test_deeper_value_is_refused(levels: int) -> None:
    with pytest.raises(MalformedError, match=f"^nested more than {DEPTH_MAX} levels deep$"):
        decode_message(nested(levels))


@pytest.mark.parametrize(
    "text",
    ["[" * 500, '\\"' + "[" * 500, "\\\\", "\\\\\\" + '"' + "{" * 500, "]" * 500 + "[" * 500],
    ids=["brackets", "after an escaped quote", "escaped backslash", "both", "closing first"],
)
def test_brackets_within_texts_do_not_count(text: str) -> None:
    value = f'{{"messageLabel":"{text}","messagePayload":{{"many":{[[]] * 300}}}}}'
    assert decode_message(value.encode()).message_payload["many"] == [[]] * 300


def test_brackets_after_a_text_that_ends_in_a_backslash_count() -> None:
    value = b'{"messageLabel":"\\\\","messagePayload":{"n":' + b"[" * 300 + b"]" * 300 + b"}}"
    with pytest.raises(MalformedError, match="nested"):
        decode_message(value)


def test_depth_is_that_of_the_deepest_part_wherever_it_is() -> None:
    value = b'{"messageLabel":"a","messagePayload":{"n":' + b"[" * 300 + b"]" * 300 + b',"m":[]}}'
    with pytest.raises(MalformedError, match="nested"):
        decode_message(value)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(
        decode_message(b'{"messageLabel":"a","messagePayload":{"n":[' + b"[]," * 5_000 + b"0]}}").message_payload["n"]
    )


def test_value_that_closes_what_it_never_opened_is_not_json() -> None:
    with pytest.raises(MalformedError, match=r"^not JSON"):
        decode_message(b"]" * 300 + b"[" * 300)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, -(10**400), 0, -1])
def test_whole_numbers_keep_every_digit_on_their_way(number: int) -> None:
    value = encode_message("a", {"n": number})
    assert value == b'{"messageLabel":"a","messagePayload":{"n":%d}}' % number
    assert decode_message(value) == Message("a", {"n": number})


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" * 5_000])
def test_number_that_nobody_can_hold_is_refused(number: bytes) -> None:
    with pytest.raises(MalformedError, match="out of range"):
        decode_message(b'{"messageLabel":"a","messagePayload":{"n":' + number + b"}}")


# --- both ways --------------------------------------------------------------------------------------------------------


def test_command_always_has_an_object_as_payload() -> None:
    assert encode_message("prepareOrder", {}) == b'{"messageLabel":"prepareOrder","messagePayload":{}}'


@given(texts, payloads)
def test_message_survives_the_wire(label: str, payload: Payload) -> None:
    assert decode_message(encode_message(label, payload)) == Message(label, payload)


@given(junk_values | st.binary() | json_values.map(msgspec.json.encode))
@example(b'{"messageLabel":"a","messagePayload":{"n":' + b"9" * 4_301 + b"}}")
def test_any_bytes_are_a_message_that_can_be_sent_on_or_refused_with_a_sentence(value: bytes | None) -> None:
    try:
        message = decode_message(value)
    except MalformedError as error:
        sentence = str(error)
        assert sentence
    else:
        assert decode_message(encode_message(message.message_label, message.message_payload)) == message


# --- creations --------------------------------------------------------------------------------------------------------


@given(texts, payloads)
def test_creation_survives_the_wire(entity_id: str, metadata: Payload) -> None:
    creation = Creation(entity_id, metadata)
    assert decode_creation(encode_creation(creation)) == creation


@pytest.mark.parametrize(
    "value",
    [
        b'{"associatedEntityId":"e"}',
        b'{"metadata":{}}',
        b'{"associatedEntityId":"e","metadata":null}',
        b'{"associatedEntityId":"e","metadata":[]}',
        b'{"associatedEntityId":7,"metadata":{}}',
        b'{"associatedEntityId":"e","metadata":{},"extra":1}',
        b"[]",
    ],
)
def test_creation_must_be_exactly_its_two_fields(value: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not a message"):
        decode_creation(value)


@pytest.mark.parametrize("value", [None, b"", b"{"])
def test_creation_that_is_not_json_is_refused(value: bytes | None) -> None:
    with pytest.raises(MalformedError):
        decode_creation(value)


@given(texts, payloads)
def test_a_command_is_the_same_message(label: str, payload: Payload) -> None:
    assert encode_command(label, encode_payload(payload)) == encode_message(label, payload)
