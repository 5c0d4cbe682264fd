"""Making untrusted text plain: no terminal escapes, no control or direction marks, one line, a bounded length."""

import re
import unicodedata

MAX_CAPTION_CHARACTERS = 2000
"""A long paragraph; the largest text encoders read about 1024 tokens, beyond which nothing is seen."""

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\|$)|\x1b[@-_]|\x9b[0-?]*[ -/]*[@-~]"
)
_JOINERS = "\u200c\u200d"  # Persian words and joined emoji are wrong without them


def plain_text(text: str) -> str:
    """Return `text` as one line without escape sequences, control, direction and other invisible characters."""
    without_escapes = _ESCAPE_SEQUENCE.sub("", text)
    spaced = "".join(" " if character.isspace() else character for character in without_escapes)
    kept = "".join(c for c in spaced if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return " ".join(kept.split())


def shortened(text: str, limit: int) -> str:
    """Return `text` cut to at most `limit` characters, between words where there is one."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1].rsplit(" ", 1)[0]
    return head if len(head) <= limit else text[:limit]
