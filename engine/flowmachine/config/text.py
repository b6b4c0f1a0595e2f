"""Text -> documents: JSON or YAML, whichever it is, within limits.

1. The text is UTF-8 (a byte order mark is fine) and not too large.
2. What begins with `{` is read as JSON first: JSON may be indented with tabs and escape as YAML does not.
3. Anything else, and what turns out not to be JSON, is read as YAML.
"""

import json
from collections.abc import Iterator
from typing import Final

from flowmachine.config.documents import (
    SIZE_BYTES_MAX,
    Document,
    Fault,
    Path,
    check_document,
    children_of,
    repeated_key,
    too_deep,
)
from flowmachine.config.yaml_text import parse_yaml
from flowmachine.errors import ConfigurationError

_DIGITS_MAX: Final = 300


def parse_documents(text: bytes | str, source_name: str) -> list[Document]:
    """The documents of a file, empty ones left out. Raises ConfigurationError when there is no reading it."""
    decoded = _decode(text, source_name)
    if decoded.lstrip().startswith("{"):
        document = _parse_json(decoded, source_name)
        if document is not None:
            return [document]
    return [document for document in parse_yaml(decoded, source_name) if document.value is not None]


def _decode(text: bytes | str, source_name: str) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > SIZE_BYTES_MAX:
            message = f"is {len(data)} bytes large; at most {SIZE_BYTES_MAX} are read"
            raise ConfigurationError.of(source_name, "too-large", message)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"not UTF-8: the byte at position {error.start} does not belong there"
        raise ConfigurationError.of(source_name, "not-utf-8", message) from None
    except UnicodeEncodeError:
        message = "not UTF-8: holds half of a character (a lone surrogate)"
        raise ConfigurationError.of(source_name, "not-utf-8", message) from None


def _parse_json(text: str, source_name: str) -> Document | None:
    """The text as JSON; None if it is none (it may still be YAML)."""
    repeated: list[tuple[dict[str, object], list[str]]] = []

    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        built: dict[str, object] = {}
        again: list[str] = []
        for key, value in pairs:
            if key in built:
                again.append(key)
            else:
                built[key] = value
        if again:
            repeated.append((built, again))
        return built

    try:
        value: object = json.loads(text, object_pairs_hook=build, parse_constant=_refuse_constant, parse_int=_parse_int)
    except RecursionError:
        raise too_deep(source_name) from None
    except ValueError:
        return None
    misfits = check_document(value, source_name=source_name)
    again_by_id = {id(built): again for built, again in repeated}
    return Document(value, (*_find_repeated(value, again_by_id), *misfits))


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _parse_int(digits: str) -> object:
    return int(digits) if len(digits) <= _DIGITS_MAX else float("inf")


def _find_repeated(value: object, again_by_id: dict[int, list[str]]) -> Iterator[Fault]:
    stack: list[tuple[Path, object]] = [((), value)] if again_by_id else []
    while stack:
        path, item = stack.pop()
        for key in again_by_id.get(id(item), ()):
            yield repeated_key((*path, key))
        stack.extend(((*path, part), child) for part, child in children_of(item))
