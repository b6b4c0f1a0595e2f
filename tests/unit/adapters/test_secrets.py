"""Secret values from files: what is read, and what is said when there is nothing to read."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from flowmachine.adapters.files import read_secret
from flowmachine.config.resource import SecretFile, SecretKey, SecretKeyRef
from flowmachine.errors import ConfigurationError


def reference(name: str, key: str) -> SecretKeyRef:
    return SecretKeyRef.model_validate({"secretKeyRef": {"name": name, "key": key}})


def test_literal_is_itself(tmp_path: Path) -> None:
    assert read_secret(SecretStr("hunter2\n"), tmp_path) == "hunter2\n"


def test_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2")
    assert read_secret(SecretFile(file=str(file)), tmp_path / "elsewhere") == "hunter2"


def test_key_of_a_secret_is_read_where_it_is_mounted(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka/pass-word.1").write_text("hunter2")
    assert read_secret(reference("kafka", "pass-word.1"), tmp_path) == "hunter2"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b" a ", " a "),
        (b"a\r", "a\r"),
        ("ü".encode(), "ü"),
        (b"a\nb\n", "a\nb"),
    ],
)
def test_one_line_break_at_the_end_is_dropped(tmp_path: Path, content: bytes, text: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert read_secret(SecretFile(file=str(file)), tmp_path) == text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "secret-empty"),
        (b"\n", "secret-empty"),
        (b"hunter2\xff", "secret-not-text"),
        (b"hunter2" * 200_000, "secret-too-large"),
    ],
)
def test_unusable_file_is_named_and_its_content_is_not(tmp_path: Path, content: bytes, code: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_secret(SecretFile(file=str(file)), tmp_path)
    assert str(file) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert [problem.code for problem in caught.value.problems] == [code]


def test_missing_file_and_field_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^spec\.x: the secret file .*kafka/password does not exist"):
        read_secret(reference("kafka", "password"), tmp_path, where="spec.x")


def test_folder_is_not_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_secret(SecretFile(file=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(("name", "key"), [("..", "etc"), ("../x", "y"), ("a", ".."), ("a/b", "c"), (".", "c")])
def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str, key: str) -> None:
    inner = SecretKey.model_construct(name=name, key=key)
    with pytest.raises(ConfigurationError, match="does not name a key"):
        read_secret(SecretKeyRef.model_construct(secret_key_ref=inner), tmp_path)
