"""An utterance taken apart: each wish in it, in the order to be done, and the parts that nobody could follow."""

import re
from dataclasses import dataclass, replace
from typing import Any

from agent.planner.in_context import in_context
from agent.planner.intents import Intent, Wish, plain, understand
from agent.planner.slots import AMOUNTS

VALUES: frozenset[Intent] = frozenset({"caption", "draft", "vague"})
"""Intents that name values of one plan: what several clauses name is one change."""
WHOLE: frozenset[Intent] = frozenset({"contradiction", "refused", "empty", "yes", "edit", "compare_files"})
"""Intents that take the whole utterance: what else stands in it belongs to them."""
WITH_VALUES: frozenset[Intent] = frozenset({"push", "sample", "resume", "export"})
"""Intents whose own values may follow them: "resume from step 100 with 800 steps and rank 8"."""
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`")
_SPLIT = re.compile(
    r"(?:(?<=[.;!?])\s+|\n+|;|,?\s+(?:and then|and also|then|also|plus|but|und dann|und|y luego|et puis|puis|e poi)\s+|"
    r",?\s+and\s+|,\s+|。|、|，|！|？)"
)
_REMARK = re.compile(
    r"^\W*(?:it'?s|it is|it was|they'?re|they are|that'?s|because|since|as|so|which|who|if "
    r"possible|please|thanks?|thank you|"
    r"ok|okay|hey|hi|well|sorry|i think|i guess|i changed|i've changed|maybe|actually|no|yes|wait|hm+|you know|for me|"
    r"for now|instead|too|again)\b|^\W*$"
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*", re.UNICODE)
_NUMBER_WITH_UNIT = re.compile(r"(?<![\w./:*-])\d[\d.,]*(?:e-?\d+)?\s?[%\w]*(?: \w+)?")
_FROM = re.compile(r"\bfrom [\d.,e-]+ to\b|\bnot [\d.,e-]+(?: \w+)? but\b")
"""The number that another one takes the place of."""
_EMPTY = frozenset(
    [
        "the",
        "a",
        "an",
        "and",
        "or",
        "of",
        "to",
        "for",
        "in",
        "on",
        "at",
        "with",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "them",
        "then",
        "please",
        "now",
        "just",
        "also",
        "is",
        "are",
        "be",
        "i",
        "you",
        "me",
        "we",
        "my",
        "our",
        "your",
        "so",
        "do",
        "does",
        "not",
        "no",
        "yes",
        "ok",
        "okay",
        "use",
        "take",
        "make",
        "let",
        "want",
        "would",
        "could",
        "can",
        "have",
        "has",
        "some",
        "one",
        "ones",
        "more",
        "all",
    ]
)


@dataclass(frozen=True)
class Reading:
    """The wishes of one utterance, in the order to be done, and `left`: the parts that were not understood."""

    wishes: tuple[Wish, ...]
    left: tuple[str, ...] = ()


def read(words: str) -> Reading:
    """Take `words` apart. One wish stays one; several values are one change; what is no wish is in `left`."""
    whole = understand(words)
    clauses = _clauses(words)
    if len(clauses) < 2 or whole.intent in WHOLE:
        return Reading((whole,), _unused_numbers(words, whole))
    parts = _pointing_back([understand(clause, by_meaning=False) for clause in clauses])
    if (
        whole.intent in WITH_VALUES
        and parts[0].intent == whole.intent
        and all(part.intent in (whole.intent, "other", "yes", *VALUES) for part in parts)
    ):
        return Reading((whole,))
    if any(part.intent == "deferred" for part in parts) or whole.intent == "deferred":
        return Reading((replace(whole, intent="deferred"),))
    known = [part for part in parts if part.intent not in ("other", "empty", "yes")]
    kinds = {part.intent if part.intent not in VALUES else "draft" for part in known}
    left = _left(clauses, parts, whole)
    if len(known) < 2 or (len(kinds) == 1 and kinds <= {"draft", "no"}):
        left = left if whole.intent not in ("other", "question", "term") else ()
        return Reading((whole, *_without_amount(parts, [whole])), left)
    wishes = _in_order(known, whole)
    return Reading((*wishes, *_without_amount(parts, wishes)), left)


def _clauses(words: str) -> list[str]:
    """The parts of an utterance between full stops, commas and "and"; quoted words are never cut."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    parts = _SPLIT.split(_QUOTED.sub(keep, words))
    back = [re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], part) for part in parts if part]
    return [part.strip() for part in back if part.strip()]


def _pointing_back(parts: list[Wish]) -> list[Wish]:
    """The same with "set it to 16" understood beside "what is rank?" before it."""
    return [in_context(part, part.words, parts[max(0, index - 1) : index], {}) for index, part in enumerate(parts)]


def _in_order(known: list[Wish], whole: Wish) -> list[Wish]:
    """Each wish once. The values of all clauses are one wish, where the first of them stands."""
    wishes: list[Wish] = []
    valued = any(part.intent in VALUES for part in known)
    for part in known:
        if part.intent in VALUES:
            if valued:
                wishes.append(_values(known, whole))
                valued = False
        elif (part.intent == "no" or part.question in ("thanks", "greeting")) and len(known) > 1:
            continue  # "no, …" and "don't start, …" make way for what is wanted instead
        elif not any((part.intent, part.question, part.term) == (one.intent, one.question, one.term) for one in wishes):
            wishes.append(part)
    return wishes or [whole]


def _values(known: list[Wish], whole: Wish) -> Wish:
    """What all clauses name together; the whole sentence is asked where no clause is clear by itself."""
    clear = [part for part in known if part.intent in ("caption", "draft")]
    if not clear or whole.intent in ("caption", "draft"):
        return whole if whole.intent in VALUES else next(part for part in known if part.intent in VALUES)
    draft: dict[str, Any] = {name: value for part in clear for name, value in part.draft.items()}
    caption: dict[str, Any] = {name: value for part in clear for name, value in part.caption.items()}
    words = ", ".join(part.words for part in clear)
    return Wish("caption" if caption else "draft", draft, caption, words=words)


def _without_amount(parts: list[Wish], wishes: list[Wish]) -> list[Wish]:
    """The clauses that want a value changed and say no number, where no other clause names that value."""
    named = {name for wish in wishes for name in (*wish.draft, wish.term)}
    valued = any(wish.intent in ("draft", "caption") and wish.term != "relative" for wish in wishes)
    return [part for part in parts if valued and part.intent == "vague" and part.term in AMOUNTS - named]


def _left(clauses: list[str], parts: list[Wish], whole: Wish) -> tuple[str, ...]:
    """The clauses that mean nothing by themselves and are no part of what the whole names."""
    used = _used(whole)
    found = []
    for clause, part in zip(clauses, parts, strict=True):
        if part.intent != "other" or _REMARK.search(plain(clause)):
            continue
        content = [word for word in _WORD.findall(plain(clause)) if word not in _EMPTY]
        if content and not all(word in used for word in content):
            found.append(clause)
    return (
        *found,
        *(number for number in _unused_numbers(" , ".join(clauses), whole) if not any(number in one for one in found)),
    )


def _unused_numbers(words: str, whole: Wish) -> tuple[str, ...]:
    """Numbers beside the values that were understood, each with its unit: nothing exact may be lost without a word."""
    if whole.intent not in ("draft", "caption") or whole.term == "relative":
        return ()
    used = _used(whole)
    found = []
    for match in _NUMBER_WITH_UNIT.finditer(_FROM.sub(" ", plain(_QUOTED.sub(" ", words)))):
        digits = re.match(r"[\d.,]+(?:e-?\d+)?", match[0])
        number = digits[0].rstrip(".,").replace(",", "") if digits else ""
        if number and not any(_same_number(number, one) for one in used):
            found.append(" ".join(match[0].split()).strip(" .,"))
    return tuple(found)


def _same_number(text: str, used: str) -> bool:
    try:
        one, other = float(text), float(used)
    except ValueError:
        return text == used
    return one in (other, other / 1000, other * 100)


def _used(whole: Wish) -> set[str]:
    """The words and numbers within the values that the whole sentence names."""
    values = [*whole.draft.items(), *whole.caption.items(), *whole.call.items()]
    text = " ".join(f"{name} {value}" for name, value in values).lower()
    return {*re.findall(r"[^\W_]+", text.replace("_", " ")), *re.findall(r"\d[\d.]*(?:e-?\d+)?", text)}
