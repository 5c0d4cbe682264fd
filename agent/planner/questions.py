"""The kind of a question that people ask of the work: by rules, and where those know none, by meaning."""

import re
from functools import cache
from pathlib import Path
from typing import Literal, cast, get_args

import yaml

from agent.planner.meaning import nearest

QuestionKind = Literal[
    "cost",
    "duration",
    "why",
    "quality",
    "commercial",
    "use",
    "who",
    "abilities",
    "changed",
    "next",
    "enough",
    "clips",
    "captions",
    "trigger",
    "privacy",
    "files",
    "model",
    "languages",
    "undoing",
    "what_if",
    "promise",
    "background",
    "greeting",
    "thanks",
    "status",
    "details",
    "off_topic",
]
SURE = 0.45
"""How much a sentence must mean a kind of question to be taken for it without a rule."""
MARGIN = 0.12
"""How far it must be ahead of every other meaning."""


def question_kind(text: str) -> QuestionKind | None:
    """The kind of question that `text` is by rule; None where no rule knows it."""
    return next((kind for kind, pattern in _rules() if pattern.search(text)), None)


@cache
def _rules() -> tuple[tuple[QuestionKind, re.Pattern[str]], ...]:
    """The kinds with their patterns, in the order they are tried."""
    read = yaml.safe_load((Path(__file__).parent / "questions.yaml").read_text(encoding="utf-8"))
    return tuple((rule["kind"], re.compile("|".join(rule["patterns"]), re.IGNORECASE)) for rule in read)


def meant_kind(text: str) -> QuestionKind | None:
    """The kind that `text` means by the exemplars; None where none is clear, or no encoder is installed."""
    found = nearest(text)
    if len(found) < 2 or found[0].score < SURE or found[0].score - found[1].score < MARGIN:
        return None
    if found[0].kind == "question" and found[0].label in get_args(QuestionKind):
        return cast(QuestionKind, found[0].label)
    return "off_topic" if found[0].label == "offtopic" else None
