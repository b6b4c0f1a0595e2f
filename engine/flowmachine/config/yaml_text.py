"""YAML 1.2 -> documents, from the parser's events.

PyYAML's own constructor follows YAML 1.1 (`no` is a boolean, `2024-01-01` a date), merges repeated keys in silence,
recurses and expands alias bombs. So only its parser is used, and its events are put together here, without recursion:

1. an event adds one value to the innermost open collection, or opens or closes one;
2. every value is a JSON value, every key a text: `no`, `on`, `1:30` and dates are texts, `true` and `false` booleans;
3. an alias is the value that it stands for, and counts as many values as that holds;
4. `<<` merges mappings, as kubectl does.
"""

import re
from collections.abc import Iterator
from typing import Final, NoReturn, final

import msgspec
import yaml

from flowmachine.config.documents import (
    DEPTH_MAX,
    NODES_MAX,
    Document,
    Fault,
    Path,
    as_array,
    check_document,
    is_object,
    repeated_key,
    too_deep,
    too_large,
)
from flowmachine.errors import ConfigurationError

_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_TEXT_TAGS: Final = frozenset({"!", f"{_TAG_PREFIX}str", f"{_TAG_PREFIX}timestamp"})
_PLAIN_TAGS: Final = frozenset(_TAG_PREFIX + name for name in ("null", "bool", "int", "float"))
_COLLECTION_TAGS: Final = frozenset({None, "!", f"{_TAG_PREFIX}map", f"{_TAG_PREFIX}seq"})

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_OTHER_INTEGER: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DIGITS_MAX: Final = 300
"""A longer number stays a text; Python refuses to convert more than 4300 digits."""

_MERGE_KEY: Final = "<<"

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str, source_name: str) -> list[Document]:
    """All documents of the text, empty ones included. Raises ConfigurationError if it is not YAML or beyond a limit."""
    documents: list[Document] = []
    composer = _Composer(source_name, nodes=0)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                composer = _Composer(source_name, nodes=composer.nodes)
            elif isinstance(event, yaml.DocumentEndEvent):
                misfits = check_document(composer.root, source_name=source_name)
                documents.append(Document(composer.root, (*composer.faults, *misfits)))
            else:
                composer.feed(event)
    except yaml.YAMLError as error:
        raise ConfigurationError.of(source_name, "not-yaml", _describe(error, text)) from None
    return documents


def resolve_plain(text: str) -> object:
    """The JSON value of a plain scalar by YAML 1.2's core schema; dates, `yes`, `no`, `on` and `off` are texts."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) > _DIGITS_MAX:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_INTEGER.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


@final
class _Frame(msgspec.Struct):
    """A collection that is still open."""

    container: dict[str, object] | list[object]
    anchor: str | None
    nodes: int = 1
    key: str | None = None
    merged: list[object] = []

    @property
    def part(self) -> str | int:
        if isinstance(self.container, list):
            return len(self.container)
        return self.key or ""

    @property
    def awaits_key(self) -> bool:
        return self.key is None and isinstance(self.container, dict)


@final
class _Composer:
    """Puts the events of one document together: `root` is its value once all have been fed.

    `nodes` counts on from document to document: the limit is one for the file.
    """

    def __init__(self, source_name: str, *, nodes: int) -> None:
        self._source_name = source_name
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[object, int]] = {}
        self.nodes = nodes
        self.faults: list[Fault] = []
        self.root: object = None

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add_scalar(event)
            case yaml.AliasEvent():
                self._add_alias(event)
            case yaml.MappingStartEvent():
                self._open({}, event)
            case yaml.SequenceStartEvent():
                self._open([], event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._close(event)
            case _:
                pass

    def _add_scalar(self, event: yaml.ScalarEvent) -> None:
        self._count(1)
        if self._awaits_key():
            self._remember(event.anchor, event.value, 1)
            self._set_key(event.value, event)
            return
        tag = event.tag
        is_plain = event.implicit[0] if tag is None else tag in _PLAIN_TAGS
        if tag is not None and not is_plain and tag not in _TEXT_TAGS:
            self._add_tag_problem()
        value = resolve_plain(event.value) if is_plain else event.value
        self._remember(event.anchor, value, 1)
        self._add(value, 1)

    def _add_alias(self, event: yaml.AliasEvent) -> None:
        name = event.anchor or ""
        if any(frame.anchor == name for frame in self._frames):
            self._refuse("recursive-alias", f"the alias *{name} stands inside of what it refers to", event)
        if name not in self._anchors:
            self._refuse("unknown-alias", f"the alias *{name} refers to nothing above it", event)
        value, nodes = self._anchors[name]
        self._count(nodes)
        if not self._awaits_key():
            self._add(value, nodes)
        elif isinstance(value, str):
            self._set_key(value, event)
        else:
            self._refuse("bad-key", "a key must be a text", event)

    def _open(self, container: dict[str, object] | list[object], event: yaml.CollectionStartEvent) -> None:
        self._count(1)
        if self._awaits_key():
            self._refuse("bad-key", "a key must be a text, not a list or a mapping", event)
        if len(self._frames) >= DEPTH_MAX:
            raise too_deep(self._source_name)
        if event.tag not in _COLLECTION_TAGS:
            self._add_tag_problem()
        self._frames.append(_Frame(container, event.anchor))

    def _close(self, event: yaml.Event) -> None:
        frame = self._frames.pop()
        if isinstance(frame.container, dict):
            for source in frame.merged:
                for key, value in self._merge_pairs(source, event):
                    frame.container.setdefault(key, value)
        self._remember(frame.anchor, frame.container, frame.nodes)
        self._add(frame.container, frame.nodes)

    def _merge_pairs(self, source: object, event: yaml.Event) -> Iterator[tuple[str, object]]:
        for item in as_array(source) or [source]:
            if not is_object(item):
                self._refuse("bad-merge", "the merge key << above takes a mapping or a list of mappings", event)
            yield from item.items()

    def _remember(self, anchor: str | None, value: object, nodes: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, nodes)

    def _awaits_key(self) -> bool:
        return bool(self._frames) and self._frames[-1].awaits_key

    def _set_key(self, key: str, event: yaml.Event) -> None:
        frame = self._frames[-1]
        frame.key = key
        if isinstance(frame.container, dict) and key in frame.container:
            self.faults.append(repeated_key(self._path(), line=_line_of(event) + 1))

    def _add(self, value: object, nodes: int) -> None:
        if not self._frames:
            self.root = value
            return
        frame = self._frames[-1]
        frame.nodes += nodes
        if isinstance(frame.container, list):
            frame.container.append(value)
            return
        assert frame.key is not None, "the parser gave a value without its key"
        if frame.key == _MERGE_KEY and not isinstance(value, str):
            frame.merged.append(value)
        else:
            frame.container.setdefault(frame.key, value)
        frame.key = None

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            raise too_large(self._source_name)

    def _path(self) -> Path:
        return tuple(frame.part for frame in self._frames)

    def _add_tag_problem(self) -> None:
        message = "has a YAML tag of its own; only plain JSON values are read here"
        self.faults.append(Fault(self._path(), "unknown-tag", message))

    def _refuse(self, code: str, message: str, event: yaml.Event) -> NoReturn:
        mark = event.start_mark
        place = "" if mark is None else _place(mark.line, mark.column)
        raise ConfigurationError.of(self._source_name, code, f"{place}: {message}")


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line if event.start_mark is not None else 0


def _place(line: int, column: int) -> str:
    return f"line {line + 1}, column {column + 1}"


def _describe(error: yaml.YAMLError, text: str) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        line, column = error.problem_mark.line, error.problem_mark.column
        lines = text.splitlines()
        is_tab = line < len(lines) and lines[line][column : column + 1] == "\t"
        what = "a tab stands here; YAML is indented with spaces" if is_tab else error.problem or "cannot be read"
        return f"not YAML: {_place(line, column)}: {what}"
    before = text.encode()[: getattr(error, "position", 0)].decode(errors="ignore")
    line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
    return f"not YAML: {_place(line, column)}: a control character stands here"
