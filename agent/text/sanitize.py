"""The one place where text becomes fit for a screen: no control, bidi or undecodable characters reach a terminal."""

import re
import shlex
import unicodedata
from pathlib import Path

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SEPARATORS = frozenset("\u2028\u2029")
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


def clean(text: str) -> str:
    """Return `text` on one line with every character that could steer a terminal written as an escape."""
    return "".join(_visible(character) for character in text)


def clean_lines(text: str) -> str:
    """Return `text` with its line breaks and every other steering character dropped or written as an escape."""
    return "\n".join(clean(line) for line in _ANSI.sub("", text).replace("\r\n", "\n").split("\n"))


def shell_quote(path: Path | str) -> str:
    """Return `path` as one word that a person can paste into a shell, whatever bytes it holds."""
    text = str(path)
    if clean(text) == text:
        return shlex.quote(text)
    return "$'" + "".join(_shell_escape(character) for character in text) + "'"


def _visible(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character == "\t":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or character in _BIDI or character in _SEPARATORS:
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def _shell_escape(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    if character == clean(character):
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors="surrogateescape"))
