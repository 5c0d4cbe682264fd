"""Nothing that steers a terminal reaches it."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.text.sanitize import clean, clean_lines, shell_quote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb", "a\\x0ab"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("caf\udce9", "caf\\xe9"),
        ("👩‍🎨 ok", "👩‍🎨 ok"),
        ("tab\there", "tab here"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_lines_keeps_lines_and_drops_colours() -> None:
    assert clean_lines("a\x1b[31m\nb\x1b]0;title\x07\r\nc\rd") == "a\nb\nc\\x0dd"


@given(st.text(alphabet=st.characters(exclude_characters="\n")))
def test_clean_is_idempotent_and_printable(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert "\x1b" not in once
    once.encode("utf-8")


@given(st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name))
def test_shell_quote_brings_back_any_name(name: bytes) -> None:
    text = name.decode("utf-8", errors="surrogateescape")
    word = shell_quote(text)
    back = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True).stdout
    assert back == name
    assert clean(word) == word
