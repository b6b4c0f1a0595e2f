import pytest

from flowmachine.diagram.typography import clean_text, column_count, fit_columns, fit_text, text_width


def test_characters_that_xml_forbids_are_replaced() -> None:
    assert clean_text("a\x00b\ud800c\ufffed\n\te") == "a b\ufffdc\ufffdd e"


def test_direction_marks_are_removed() -> None:
    assert clean_text("abc\u202edef\u2066") == "abcdef"


def test_joined_emoji_stay_joined() -> None:
    assert clean_text("\U0001f469\u200d\U0001f680") == "\U0001f469\u200d\U0001f680"


def test_widths_follow_the_font() -> None:
    assert text_width("il", 10, "sans") < text_width("WM", 10, "sans") < text_width("WM", 10, "bold")
    assert text_width("iiii", 10, "mono") == text_width("WWWW", 10, "mono")
    assert text_width("e\u0301", 10, "sans") == text_width("e", 10, "sans")
    assert text_width("日本", 10, "sans") == 20


@pytest.mark.parametrize("text", ["x" * 500, "日本語" * 100, "🎉" * 100])
def test_long_text_is_cut_to_the_width(text: str) -> None:
    fitted = fit_text(text, 100, 12, "sans")
    assert fitted.endswith("…")
    assert text_width(fitted, 12, "sans") <= 100
    cut = fit_columns(text, 20)
    assert cut.endswith("…")
    assert column_count(cut) <= 20


def test_short_text_is_kept() -> None:
    assert fit_text("created", 100, 12, "sans") == "created"
    assert fit_columns("created", 7) == "created"
