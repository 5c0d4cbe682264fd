"""Numbers that are spelled out become digits: "five hundred steps", "the first three", "fünfhundert Schritte"."""

import re

_UNITS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * (value + 2)
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
}
_SCALES = {"hundred": 100, "thousand": 1000, "grand": 1000, "million": 1_000_000}
_ENGLISH = "|".join((*_UNITS, *_TENS, *_SCALES, "dozen"))
_SPELLED = re.compile(
    rf"\b(?:(?:a|half a) (?=hundred|thousand|dozen))?(?:{_ENGLISH})\b(?:(?:[ -]| and )(?:{_ENGLISH})\b)*"
)
_FOREIGN = {
    **dict.fromkeys(("zwei", "dos", "deux", "dois", "duas", "due", "twee"), 2),
    **dict.fromkeys(("drei", "tres", "trois", "três", "tre", "drie"), 3),
    **dict.fromkeys(("vier", "cuatro", "quatre", "quatro", "quattro"), 4),
    **dict.fromkeys(("fünf", "cinco", "cinq", "cinque", "vijf"), 5),
    **dict.fromkeys(("zehn", "diez", "dix", "dez", "dieci", "tien"), 10),
    **dict.fromkeys(("hundert", "cien", "cent", "cem", "cento", "honderd"), 100),
    **dict.fromkeys(("fünfhundert", "quinientos", "quinhentos", "cinquecento", "vijfhonderd"), 500),
    **dict.fromkeys(("tausend", "mil", "mille", "duizend"), 1000),
    **dict.fromkeys(("zweitausend", "duemila"), 2000),
}
_FOREIGN_WORD = re.compile(rf"(?<!\w)(?:{'|'.join(sorted(_FOREIGN, key=len, reverse=True))})(?!\w)")
_IDEOGRAPHS = {"一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_IDEOGRAPH_SCALES = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000}
_IDEOGRAPH_NUMBER = re.compile(f"[{''.join(_IDEOGRAPHS)}]?[{''.join(_IDEOGRAPH_SCALES)}]")


def with_digits(text: str) -> str:
    """Return lower-case `text` with its spelled-out numbers as digits; a lone "one" stays: it is rarely a number."""
    kept = _SPELLED.sub(lambda match: "one" if match[0] == "one" else str(_english(match[0])), text)
    kept = _FOREIGN_WORD.sub(lambda match: str(_FOREIGN[match[0]]), kept)
    return _IDEOGRAPH_NUMBER.sub(lambda match: str(_ideographs(match[0])), kept)


def _english(spelled: str) -> int:
    total, part = 0, 0
    half = spelled.startswith("half a")
    for word in re.split(r"[ -]+", spelled.removeprefix("half a ")):
        if word in _UNITS or word in _TENS:
            part += _UNITS.get(word, 0) + _TENS.get(word, 0)
        elif word == "dozen":
            part = 12 * max(part, 1)
        elif word in _SCALES:
            part = max(part, 1) * _SCALES[word]
            if _SCALES[word] >= 1000:
                total, part = total + part, 0
    return (total + part) // (2 if half else 1)


def _ideographs(spelled: str) -> int:
    return _IDEOGRAPHS.get(spelled[0], 1) * _IDEOGRAPH_SCALES[spelled[-1]]
