"""A correction of a caption in plain words, by rules: which of the captions shown, and what it says from now on.

"the second caption is wrong, it's a fox", "clip 3 should read: A tram passes", "it's a fox, not a dog". Numbers are
those of the card that shows the captions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ORDINALS: tuple[tuple[str, str, int], ...] = (
    (r"first|1st|erste[nrsm]?|primer[oa]?|premi[eè]re?|primeir[oa]|prim[oa]", "1(?:つ目|番目)|第一", 1),
    (r"second|2nd|zweite[nrsm]?|segund[oa]|deuxi[eè]me|second[oa]", "2(?:つ目|番目)|第二", 2),
    (r"third|3rd|dritte[nrsm]?|tercer[oa]?|troisi[eè]me|terceir[oa]|terz[oa]", "3(?:つ目|番目)|第三", 3),
)
"""Words and, for languages without blanks, beginnings of words; the card shows three captions."""
_BEFORE = "the |das |die |der |el |la |le |il |o |a "
_THING = (
    r"(?:captions?|clips?|ones?|bildunterschrift|untertitel|leyenda|légende|legenda|didascalia|キャプション|字幕|说明)"
)
_NUMBERED = rf"(?:{_THING}|number|no\.?)\s*#?(?P<number>\d+)\b|#(?P<sign>\d+)\b"
_IS = (
    r"(?:it(?:'s| is| shows| should (?:be|say|read))|that(?:'s| is)|this is|there(?:'s| is| are)|"
    r"es ist|das ist|es zeigt|es un|es una|c'est|è un|è una|é um|é uma)"
)
_SAYS = (
    r"\b(?:should|must|shall|has to|needs to)\s+(?:read|say|be)\b\s*:?|\breads\b\s*:?|\bto (?:say|read)\b\s*:?|:\s|=\s"
)
_WRONG = (
    r"\b(?:wrong|incorrect|not right|not correct|isn't right|bad|off|falsch|faux|fausse|incorrecta?|sbagliat[oa]|"
    r"errad[oa])\b|違|错|錯"
)
_SOMETHING = r"(?:an?|the|some|two|three|several|many|ein(?:e[nrs]?)?|une?|un[ao]?|uma?)\b"
_CLEARER = re.compile(rf"\b{_IS}\s+(?P<text>.+)$", re.IGNORECASE | re.DOTALL)
_SHOWS = re.compile(rf"\b(?:is|shows)\s+(?P<text>{_SOMETHING}.+)$", re.IGNORECASE | re.DOTALL)
_SAID = re.compile(rf"(?:{_SAYS})\s*(?P<text>.+)$", re.IGNORECASE | re.DOTALL)
_EXCHANGES = (
    re.compile(r"\b(?:replace|change)\s+(?P<old>[^,;]+?)\s+(?:with|by|to)\s+(?P<new>[^,;.]+)", re.IGNORECASE),
    re.compile(rf"(?:{_IS})\s+(?P<new>[^,;.]+?),?\s+(?:and )?not\s+(?P<old>[^,;.]+)", re.IGNORECASE),
    re.compile(rf"(?:{_IS}|is)\s+not\s+(?P<old>[^,;.]+?),?\s+(?:but|it's|it is)\s+(?P<new>[^,;.]+)", re.IGNORECASE),
    re.compile(r"(?P<new>(?:an? |the )?\w+)\s+instead of\s+(?P<old>(?:an? |the )?\w+)", re.IGNORECASE),
)
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)
_PLACES = [
    (place, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)\s*{_THING}|^\W*(?:no,? )?(?:{_BEFORE})?(?:{pattern})(?!\w)|{cjk}"))
    for pattern, cjk, place in _ORDINALS
]
_QUOTES = "\"'“”‘’«»「」`"


@dataclass(frozen=True)
class Correction:
    """A caption as it should be: `clip` is its path, None where the words don't say which; no `caption`: nor what."""

    clip: str | None
    caption: str | None = None

    @property
    def call(self) -> dict[str, Any] | None:
        """The arguments of write_caption; None where something has to be asked."""
        if self.clip is None or self.caption is None:
            return None
        return {"clip": self.clip, "caption": self.caption}


def correction_in(words: str, shown: Sequence[dict[str, Any]], *, asked: bool) -> Correction | None:
    """Return the correction that `words` make to one of the captions `shown`; None when they make none.

    `asked`: the captions' card waits, so that "it's a fox" is about them without saying so.
    """
    named = _named(words, shown)
    is_about = named is not None or (asked and bool(re.search(_WRONG, words, re.IGNORECASE)))
    if not shown or not (is_about or asked) or words.rstrip().endswith(("?", "？")):
        return None
    exchanged = _exchanged(words, [named] if named is not None else shown)
    if exchanged is not None:
        return exchanged
    only = named if named is not None else (shown[0] if len(shown) == 1 else None)
    said = (_SAID.search(words) or _SHOWS.search(words) if named is not None else None) or _CLEARER.search(words)
    text = re.sub(rf"^\W*{_IS}\s+", "", said["text"], flags=re.IGNORECASE) if said is not None else ""
    text = "" if re.fullmatch(rf"\W*(?:{_WRONG})\W*", text, re.IGNORECASE) else text
    clip = only["path"] if only is not None else None
    if text and (named is not None or re.match(_SOMETHING, text, re.IGNORECASE)):
        return Correction(clip, _sentence(text))
    return Correction(clip) if is_about and re.search(_WRONG, words, re.IGNORECASE) else None


def _named(words: str, shown: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The caption that the words point at: by its clip's name, its number on the card, or its place there."""
    text = words.lower()
    for row in shown:
        name = str(row["path"]).rsplit("/", 1)[-1].lower()
        stem = name.rsplit(".", 1)[0]
        if name in text or (len(stem) > 2 and re.search(rf"(?<![\w-]){re.escape(stem)}(?![\w-])", text)):
            return row
    place = next((place for place, pattern in _PLACES if pattern.search(text)), 0)
    if not place and (match := re.search(_NUMBERED, text)):
        place = int(match["number"] or match["sign"])
    if not place and re.search(rf"\blast {_THING}\b", text):
        place = len(shown)
    return shown[place - 1] if 0 < place <= len(shown) else None


def _exchanged(words: str, shown: Sequence[dict[str, Any]]) -> Correction | None:
    """One thing said in the place of another that a single caption names."""
    for pattern in _EXCHANGES:
        match = pattern.search(words)
        if match is None:
            continue
        old, new = (_ARTICLE.sub("", match[part].strip(f" .!{_QUOTES}")) for part in ("old", "new"))
        has = re.compile(rf"(?P<article>\ban? )?\b{re.escape(old)}\b", re.IGNORECASE)
        holding = [row for row in shown if old and has.search(row["caption"])]
        if len(holding) == 1 and new:
            article = "an " if new[0].lower() in "aeiou" else "a "
            caption = _with(has, article, new, holding[0]["caption"])
            return Correction(holding[0]["path"], caption)
    return None


def _with(has: re.Pattern[str], article: str, new: str, caption: str) -> str:
    """The caption with `new` wherever `has` matches, behind the article it needs."""

    def put(found: re.Match[str]) -> str:
        before = found["article"] or ""
        return f"{(article.capitalize() if before[0].isupper() else article) if before else ''}{new}"

    return has.sub(put, caption)


def _sentence(text: str) -> str:
    """The words as a caption: without quotes around them, with a capital and an end."""
    plain = " ".join(text.strip().strip(_QUOTES).split()).strip()
    if not plain:
        return plain
    return plain[0].upper() + plain[1:] + ("" if plain[-1] in ".!?。！" else ".")
