import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.plain_text import plain_text, shortened


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a \x1b[31mred\x1b[0m car", "a red car"),
        ("\x1b]0;owned\x07a car", "a car"),
        ("a\u202egnp.exe\u202c car", "agnp.exe car"),
        ("line one\r\n\tline  two\u2028three", "line one line two three"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("bad byte \udcff here", "bad byte here"),
        ("family 👨‍👩‍👧 می‌خواهم", "family 👨‍👩‍👧 می‌خواهم"),
    ],
)
def test_plain_text(raw: str, clean: str) -> None:
    assert plain_text(raw) == clean


@given(st.text())
def test_plain_text_never_leaves_a_control_character_and_is_stable(text: str) -> None:
    clean = plain_text(text)
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in clean)
    assert plain_text(clean) == clean


@given(st.text(), st.integers(1, 50))
def test_shortened_is_a_beginning_within_the_limit(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert len(short) <= limit
    assert text.startswith(short)


def test_shortened_cuts_between_words() -> None:
    assert shortened("one two three", 9) == "one two"
    assert shortened("onetwothree", 9) == "onetwothr"
