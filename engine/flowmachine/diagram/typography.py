"""How wide text is, how it is shortened, and which characters may not appear.

Widths come from the Helvetica metrics, which Arial, Liberation Sans and Arimo share, in thousandths of the font size.
Other fonts differ by a few percent; the padding of boxes absorbs that. Characters without an entry are judged by their
Unicode category.
"""

import unicodedata
from collections.abc import Iterable
from itertools import accumulate
from typing import Literal, TypeAlias

Face: TypeAlias = Literal["sans", "bold", "mono"]

_ASCII_WIDTHS = (
    *(278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278),  # space to slash
    *(556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556),  # 0 to ?
    *(1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778),  # @ to O
    *(667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556),  # P to _
    *(333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556),  # ` to o
    *(556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584),  # p to ~
)
_MONO_WIDTH = 602
_BOLD_FACTOR = 1.07
_ELLIPSIS = "\u2026"
_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Cf", "Cc"})
# Characters that turn the direction of the text after them: one in an id could make a label read as something else.
_DIRECTION_MARKS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_text(text: str) -> str:
    """The text in one line, without characters that XML forbids and without direction marks."""
    kept = (_clean_character(character) for character in text if character not in _DIRECTION_MARKS)
    return " ".join("".join(kept).split())


def text_width(text: str, size: float, face: Face) -> float:
    """The estimated width of the text in pixels."""
    return sum(_character_width(character, face) for character in text) * size / 1000


def fit_text(text: str, width_max: float, size: float, face: Face) -> str:
    """The cleaned text, cut with an ellipsis when it is wider than `width_max`."""
    cleaned = clean_text(text)
    if text_width(cleaned, size, face) <= width_max:
        return cleaned
    room = width_max - text_width(_ELLIPSIS, size, face)
    return _cut(cleaned, (_character_width(character, face) * size / 1000 for character in cleaned), room)


def column_count(text: str) -> int:
    """How many columns the text takes in a terminal."""
    return sum(_character_columns(character) for character in text)


def fit_columns(text: str, columns_max: int) -> str:
    """The cleaned text, cut with an ellipsis when it takes more than `columns_max` columns."""
    cleaned = clean_text(text)
    if column_count(cleaned) <= columns_max:
        return cleaned
    return _cut(cleaned, map(_character_columns, cleaned), columns_max - 1)


def _clean_character(character: str) -> str:
    code = ord(character)
    if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
        return " "
    is_forbidden = 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or (code & 0xFFFE) == 0xFFFE
    return "\ufffd" if is_forbidden else character


def _character_width(character: str, face: Face) -> float:
    code = ord(character)
    if 32 <= code <= 126:
        if face == "mono":
            return _MONO_WIDTH
        return _ASCII_WIDTHS[code - 32] * (_BOLD_FACTOR if face == "bold" else 1)
    return _other_width(character)


def _other_width(character: str) -> float:
    category = unicodedata.category(character)
    if category in _ZERO_WIDTH_CATEGORIES:
        return 0
    if category == "So":  # emoji are drawn wider than one em by most fonts
        return 1300
    if character == _ELLIPSIS or unicodedata.east_asian_width(character) in {"W", "F"}:
        return 1000
    return 740 if character.isupper() else 620


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in _ZERO_WIDTH_CATEGORIES:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _cut(text: str, widths: Iterable[float], room: float) -> str:
    """As many characters as fit into the room, and an ellipsis; a joiner at the end would glue that to a character."""
    kept = sum(used <= room for used in accumulate(widths))
    return text[:kept].rstrip(" \u200d\ufe0f") + _ELLIPSIS
