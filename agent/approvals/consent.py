"""Consent in words: a yes or a no only where the whole utterance is one. Every face asks here and nowhere else.

"yes", "ja, mach das", "lgtm 👍" are; "ok but …", "okay no", "yes?" and "do it tomorrow" are neither: they are words to
act on. The words of eight languages are in consent.yaml.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Consent = Literal["yes", "no"]
Phrase = tuple[str, ...]

LONGEST_CHARACTERS = 200
"""No yes is longer; a long text is never worth the search."""
_DOUBTS = frozenset("?？؟¿⁇⁈⁉‽…")
_SIGNS = frozenset({"+1", "-1"})
_PARTS_OF_EMOJI = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f\u200d]")
_ALONE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Kana and Han: no blanks stand between their words, so each character is a token of its own."""


@dataclass(frozen=True)
class _Phrases:
    yes: frozenset[Phrase]
    no: frozenset[Phrase]
    fillers: frozenset[Phrase]
    cards: dict[str, frozenset[Phrase]]


def consent_of(words: str, approval: str = "") -> Consent | None:
    """Return the consent that `words` are as a whole; None when they are anything else, a question or a hedge too.

    `approval` names the card they answer, whose own verb is a yes to it: "start" to the card of a start.
    """
    text = words.strip()
    if not text or text[0] == "/" or len(text) > LONGEST_CHARACTERS or _DOUBTS & set(text) or "..." in text:
        return None
    known, tokens = _known(), _tokens(text)
    if tokens is None:
        return None
    if _is_made_of(tokens, known.yes | known.cards.get(approval, frozenset()), known.fillers):
        return "yes"
    return "no" if _is_made_of(tokens, known.no, known.fillers) else None


def _is_made_of(tokens: Phrase, phrases: frozenset[Phrase], fillers: frozenset[Phrase]) -> bool:
    """Whether phrases and fillers cover the tokens without a gap, with one phrase at least."""
    longest = max(map(len, phrases))
    reached = {0: False}  # where a cover of the beginning ends, and whether a phrase is in it
    for start in range(len(tokens)):
        if start not in reached:
            continue
        for end in range(start + 1, min(start + longest, len(tokens)) + 1):
            piece = tokens[start:end]
            if piece in phrases:
                reached[end] = True
            elif piece in fillers:
                reached[end] = reached.get(end, False) or reached[start]
    return reached.get(len(tokens), False)


def _tokens(text: str) -> Phrase | None:
    """Words, signs and pictures without case, accents and punctuation; None where nothing is left."""
    plain = _PARTS_OF_EMOJI.sub("", unicodedata.normalize("NFKC", text.replace("’", "'")).casefold())
    if plain in _SIGNS:
        return (plain,)
    found, word = [], ""
    for character in plain:
        kind = unicodedata.category(character)
        if _ALONE.match(character) or kind[0] == "S":
            found += [word, character]
            word = ""
        elif kind[0] in "LNM" or (character == "'" and word):
            word += character
        else:
            found.append(word)
            word = ""
    tokens = tuple(_bare(token.rstrip("'")) for token in [*found, word] if token.rstrip("'"))
    return tokens or None


def _bare(token: str) -> str:
    """Without accents on Latin letters, and with letters that were held ("yesss") once."""
    letters = [_latin(character) for character in token]
    return re.sub(r"([a-z])\1{2,}", r"\1", "".join(letters))


def _latin(character: str) -> str:
    base = unicodedata.normalize("NFKD", character)
    return base[0] if base[0].isascii() and base[0].isalpha() else character


@cache
def _known() -> _Phrases:
    import yaml

    data: dict[str, Any] = yaml.load(
        Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader
    )

    def phrases(texts: Iterable[str]) -> frozenset[Phrase]:
        return frozenset(tokens for text in texts if (tokens := _tokens(text)) is not None)

    return _Phrases(
        yes=phrases(text for texts in data["yes"].values() for text in texts),
        no=phrases(text for texts in data["no"].values() for text in texts),
        fillers=phrases(data["fillers"]),
        cards={name: phrases(texts) for name, texts in data["cards"].items()},
    )
