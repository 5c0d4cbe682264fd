"""The intent of a sentence and the values it names: by rules, and a question that no rule knows by its meaning.

Knows nothing of the chat.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from agent.approvals.consent import consent_of
from agent.planner.adapter_slots import (
    compare_values,
    doctor_values,
    edit_values,
    export_values,
    is_edit,
    push_values,
    resume_values,
    sample_values,
)
from agent.planner.glossary import is_known
from agent.planner.numbers import with_digits
from agent.planner.questions import QuestionKind, meant_kind, question_kind
from agent.planner.selections import points_at_clips
from agent.planner.slots import (
    added_values,
    caption_values,
    contradiction_in,
    draft_values,
    lacks_trigger,
    numbers_in,
    relative_values,
    vague_value,
)

Intent = Literal[
    "empty",
    "question",
    "term",
    "deferred",
    "stop",
    "advice",
    "slow",
    "status",
    "best",
    "compare",
    "compare_files",
    "doctor",
    "edit",
    "push",
    "memory",
    "rehearse",
    "fit",
    "sample",
    "export",
    "resume",
    "refused",
    "contradiction",
    "vague",
    "caption",
    "draft",
    "start",
    "inspect",
    "yes",
    "no",
    "other",
]

_ORDERS_TOO = frozenset({"stop", "abort", "cancel", "cancel it"})
"""A no to a card, and an order where none waits."""
_TERM = re.compile(
    r"^\W*(?:what(?:'?s| is| are| does| do)|explain|define|meaning of)\s+(?:the |a |an )?[\"'“‘`]?"
    r"(?P<term>[\w -]+?)[\"'”’`]?(?:\s+means?)?\W*$",
    re.IGNORECASE,
)
_LATER = re.compile(
    r"\b(?:tomorrow|tonight|later|this evening|next week|after (?:lunch|dinner|work)|in (?:\d+|an?|half an?|a few) "
    r"(?:min(?:ute)?s?|hours?|days?)|at \d{1,2}(?::\d\d)? ?(?:am|pm|o'clock|h\b)|at \d{1,2}:\d\d|at (?:noon|midnight)|"
    r"(?:when|whenever|as soon as|once|if|unless|until|till) (?:it|the|this|they|there|loss|i|we|"
    r"nobody)\b|on (?:mon|tues|wednes|"
    r"thurs|fri|satur|sun)day|morgen|heute abend|später|mañana|demain|plus tard|domani|amanhã)\b|明日|明天|後で|稍后"
)
_WAITS = frozenset({"start", "stop", "push", "export", "sample", "resume", "yes", "caption", "inspect"})
"""Intents that can't be put off: nothing here waits for a time or a condition."""
_DENIED = re.compile(
    r"\b(?:don'?t|do not|never|nicht|no need to|not going to|won'?t)\b[^.,;!?]*\b(?:start|begin|"
    r"train|launch|run|stop|export|push|sample|"
    r"render|resume|continue|go on|inspect|rehearse|upload)\w*\b"
)
_DENIED_VALUE = re.compile(r"\b(?:don'?t|do not|never) (?:use|take|set|make|want|need)\b[^.,;!?]*\d")
_ASKS_ONLY = re.compile(
    r"^\W*(?:(?:and|so|ok|okay|but|well)[,\s]+)*(?:what|who|where|when|why|how(?! about)|which|"
    r"whose|is|are|was|were|does|did|has|"
    r"do (?:you|i|we)|should (?:i|we)|must (?:i|we)|can i (?:write|close|see|read))\b"
)
"""How a sentence begins that asks and wants nothing done."""
_SHORTENED = {
    word.replace("'", ""): word
    for word in [
        "what's",
        "how's",
        "where's",
        "who's",
        "that's",
        "there's",
        "don't",
        "doesn't",
        "didn't",
        "isn't",
        "aren't",
        "wasn't",
        "can't",
        "won't",
        "couldn't",
        "i'm",
    ]
}
_APOSTROPHE = re.compile(rf"\b(?:{'|'.join(_SHORTENED)})\b")
"""Words that people write without their apostrophe."""
_QUESTION = re.compile(
    r"^\W*(?:(?:and|so|ok|okay|hey|but|well|now|please|sorry|tell me|show me|i wonder|explain|list|read me)[,\s]+)*"
    r"(?:what|who|where|when|why|how|which|whose|is|are|was|were|do|does|did|can|could|will|would|"
    r"should|shall|am|may|has|have|"
    r"isn't|aren't|wasn't|don't (?:you|i)|tell me|show me|explain|list|read me|"
    r"was|wie|wann|warum|wieso|wer|wo|welche[rsn]?|kann|darf|ist|sind|hast|habe|muss|reicht|"
    r"sprichst|qué|cómo|cuánt\w+|cuándo|por qué|"
    r"dónde|quién|puedo|es|tengo|hablas|que|comment|combien|quand|pourquoi|où|qui|puis-je|est-ce|"
    r"et maintenant|parles|quanto|quanti|"
    r"come|dove|posso|parli|como|quando|porquê|onde|quem|é|tenho)\b|[?？]\W*$|[か吗呢]\W*$"
)
_CALLS: dict[str, Callable[[str], dict[str, Any]]] = {
    "doctor": doctor_values,
    "compare_files": compare_values,
    "sample": sample_values,
    "export": export_values,
    "push": push_values,
    "resume": lambda words: resume_values(words, numbers_in(plain(words))),
}
_ABOUT_VALUES = (
    "memory",
    "rehearse",
    "fit",
    "advice",
    "slow",
    "status",
    "best",
    "compare",
    "refused",
    "stop",
)
"""Intents whose sentence names no value, whatever words it holds."""
_SHARPER: frozenset[str] = frozenset(
    {
        "push",
        "refused",
        "doctor",
        "compare_files",
        "fit",
        "rehearse",
        "memory",
        "slow",
        "best",
        "sample",
        "compare",
        "advice",
    }
)
"""Intents that say more than the kind of question their sentence is too."""


@dataclass(frozen=True)
class Wish:
    """One utterance or a part of one, understood: an intent, and the values it names."""

    intent: Intent
    draft: dict[str, Any] = field(default_factory=dict)
    """Arguments of draft_config; `back` besides: clips to take in again."""
    caption: dict[str, Any] = field(default_factory=dict)
    """Arguments of caption_clips."""
    call: dict[str, Any] = field(default_factory=dict)
    """Arguments of the tool that the intent names."""
    term: str = ""
    """What is asked about: a word of the glossary, what contradicts itself, the value that is vague."""
    question: QuestionKind | None = None
    words: str = ""
    """The words that were understood so."""


def read_goal(goal: str) -> Wish:
    """Return the values that a goal names; a goal gives no orders, whatever words it holds."""
    return Wish("other", draft_values(plain(goal)), caption_values(goal), words=goal)


@lru_cache(maxsize=512)
def understand(words: str, *, by_meaning: bool = True) -> Wish:
    """Return what `words` ask for; "other" when neither a rule nor, unless told not to try, their meaning says it."""
    return replace(_understood(words, by_meaning), words=words)


def _understood(words: str, by_meaning: bool) -> Wish:
    text = plain(words)
    if not text:
        return Wish("empty")
    consent = consent_of(words)
    if consent is not None and text not in _ORDERS_TOO:
        return Wish(consent)
    intent: Intent = next((intent for intent, pattern in _rules() if pattern.search(text)), "other")
    asked = _asked(words, text, intent)
    if asked is not None:
        return asked
    if intent in _WAITS and _LATER.search(text):
        return Wish("deferred")
    if is_edit(text):
        return Wish("edit", call=edit_values(words))
    if _DENIED.search(text):
        intent = "no"
    elif intent in _CALLS:
        return Wish(intent, call=_CALLS[intent](words))
    elif intent in _ABOUT_VALUES:
        return Wish(intent)
    valued = _valued(words, text, intent)
    names_a_side = valued is not None and (valued.intent == "contradiction" or "direction" in valued.draft)
    wants = valued is not None or intent in ("start", "caption", "draft", "inspect", "yes")
    if _ASKS_ONLY.search(text) and wants and not names_a_side:  # "what comes before" names what is to be made
        valued, intent = None, "other"  # a question changes nothing and starts nothing
    return valued or _left(text, intent, by_meaning)


def plain(words: str) -> str:
    """Lower case, single blanks, straight apostrophes, numbers as digits."""
    text = " ".join(words.lower().replace("’", "'").split())
    return with_digits(_APOSTROPHE.sub(lambda match: _SHORTENED[match[0]], text))


def is_question(words: str) -> bool:
    return _QUESTION.search(plain(words)) is not None


def _asked(words: str, text: str, intent: Intent) -> Wish | None:
    """The question that the words put, when a rule or the glossary knows it."""
    questioning = _QUESTION.search(text) is not None
    kind = question_kind(text) if questioning or intent == "other" else None
    if kind is not None and (intent not in _SHARPER or kind in ("use", "commercial", "cost", "duration")):
        return Wish("question", question=kind)
    term = _TERM.match(words.strip())
    if term is None:
        return None
    name = " ".join(term["term"].lower().split())
    if is_known(name) or intent in ("other", "start", "caption", "draft", "inspect", "yes", "no"):
        meant = None if is_known(name) else meant_kind(text)
        return Wish("question", question=meant) if meant else Wish("term", term=name)
    return None


def _valued(words: str, text: str, intent: Intent) -> Wish | None:
    """The values that the words name, or what keeps them from being taken."""
    clash = contradiction_in(text)
    if clash is not None:
        return Wish("contradiction", term=clash)
    draft, caption = draft_values(text), caption_values(words)
    if lacks_trigger(words):
        return Wish("vague", term="trigger")
    if not draft and points_at_clips(text):
        return Wish("vague", term="clips")
    if _DENIED_VALUE.search(text) and len(numbers := numbers_in(text)) == 1:
        return Wish("vague", term=next(iter(numbers)))
    if caption:
        return Wish("caption", draft, caption)
    if draft:
        return Wish("draft", draft)
    if added_values(text) or relative_values(text):
        return Wish("draft", term="relative")
    vague = vague_value(text)
    return Wish("vague", term=vague) if vague is not None and intent not in ("yes", "start") else None


def _left(text: str, intent: Intent, by_meaning: bool) -> Wish:
    if intent == "other" and by_meaning and (kind := meant_kind(text)) is not None:
        return Wish("question", question=kind)
    return Wish(intent)


@cache
def _rules() -> tuple[tuple[Intent, re.Pattern[str]], ...]:
    """The intents with their patterns, in the order they are tried."""
    return tuple((rule["intent"], re.compile("|".join(rule["patterns"]))) for rule in _read("intents.yaml"))


def _read(name: str) -> Any:
    return yaml.safe_load((Path(__file__).parent / name).read_text(encoding="utf-8"))
