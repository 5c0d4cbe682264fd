"""Answers that stand in the project's files: which part of `project_facts` a question asks for."""

import re

from agent.planner.calls import Call
from agent.planner.intents import plain
from agent.planner.selections import references_in

_VALUES = (
    ("learning_rate", r"\blearning[- ]?rate\b|\blr\b|\blernrate\b|学習率|学习率"),
    ("batch_size", r"\bbatch"),
    ("rank", r"\brank\b|\brang\b|\brango\b|ランク|秩"),
    ("steps", r"\bsteps?\b|\bschritte\b|\bpasos\b|\bétapes\b|\bpassi\b|\bpassos\b|ステップ|步"),
    ("buckets", r"\bresolution\b|\bbuckets?\b|\bsize\b"),
    ("frame_rate", r"\bframe rate\b|\bfps\b"),
    ("objective", r"\bobjective\b|\bmode\b"),
    ("training_mode", r"\blora\b|\badapter\b"),
    ("quantization", r"\bquanti[sz]|\bint8\b"),
)
_COSTS = (
    (
        "energy",
        r"\benergy\b|\belectricity\b|\bpower\b|\bkwh\b|\bstrom\b|\belectricidad\b|\bélectricité\b|\bcorrente\b|電気|耗电|多少电",
    ),
    (
        "disk",
        r"\bhow (?:big|large)\b|\bdisk\b|\bspace\b|\bstorage\b|\bgigabytes?\b|\bgb\b|\bplatz\b|\bdisco\b|\bdisque\b",
    ),
    ("money", r"\bmoney\b|\bdollars?\b|\beuros?\b|\busd\b|\bpay\b"),
)


def costs(words: str) -> Call:
    return _facts("costs", _first(_COSTS, words))


def duration(_words: str) -> Call:
    return _facts("costs", "time")


def values(words: str) -> Call:
    return _facts("values", _first(_VALUES, words))


def changes(_words: str) -> Call:
    return _facts("changes", None)


def clips(words: str) -> Call:
    return _facts("clips", _one_clip(plain(words)))


def captions(words: str) -> Call:
    return _facts("captions", _one_clip(plain(words).replace("'s ", " ")))


def enough(_words: str) -> Call:
    return _facts("enough", None)


def use(_words: str) -> Call:
    return _facts("use", None)


def licence(_words: str) -> Call:
    return _facts("licence", None)


def _facts(topic: str, name: str | None) -> Call:
    return "project_facts", {"topic": topic, **({"name": name} if name else {})}


def _one_clip(text: str) -> str | None:
    """The first clip that is named; a mere word before "clips" names none."""
    return next((found for found in references_in(text) if not found.startswith("*")), None)


def _first(patterns: tuple[tuple[str, str], ...], words: str) -> str | None:
    return next((name for name, pattern in patterns if re.search(pattern, plain(words))), None)
